"""Every image and person of a data set of joints, looked at once before it is trusted."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from convatlas.data import limits
from convatlas.data.decode import exif_orientation
from convatlas.data.findings import Finding
from convatlas.data.hashes import hash_pixels
from convatlas.data.pose.people import PeopleSplit, Person
from convatlas.data.splits import problem_of
from convatlas.data.store import Progress, threads
from convatlas.errors import ConvatlasError

HARMFUL = ("refused", "damaged", "left out", "leak")
MEANING: Mapping[str, str] = {
    "refused": "training refuses the data with this sentence",
    "damaged": "an image that can't be used; training leaves its people out",
    "left out": "a person who can't be used, or whose image is not there; training leaves the person out",
    "leak": "the same pixels in two splits",
    "turned, as annotated": "EXIF turns the image, and the annotated size is that of what is shown; it is used",
    "outside": "a person with marked joints beyond the image; the loss counts those that are in the person's square",
    "by design": "people and images that nothing can be learned from",
}
_TASK = 32


@dataclass(frozen=True)
class CheckedPeople:
    """All that was found."""

    joints: tuple[str, ...]
    people: Mapping[str, int]  # by split
    images: Mapping[str, int]  # different ones, by split
    marked: Mapping[str, tuple[int, ...]]  # people with each joint, by split
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def harmful(self) -> int:
        """Findings that make training wrong, or smaller than it seems."""
        return sum(finding.kind in HARMFUL for finding in self.findings)


@dataclass(frozen=True)
class _Seen:
    digest: bytes
    orientation: int
    size: tuple[int, int]  # H, W


def check_people(
    parts: Mapping[str, PeopleSplit],
    joints: tuple[str, ...],
    *,
    refusal: str | None = None,
    on_progress: Progress | None = None,
) -> CheckedPeople:
    """Reads every image once and looks at every person.

    Args:
        parts: by name.
        joints: their names.
        refusal: the sentence with which training refuses the data, if it does.
        on_progress: called with (images done, images).

    Raises:
        ConvatlasError: none of the images can be used.
    """
    started, done = time.perf_counter(), 0
    firsts = {part: list({path: place for place, path in reversed(list(enumerate(split.paths)))}.values())
              for part, split in parts.items()}  # fmt: skip
    total = sum(map(len, firsts.values()))
    findings: list[Finding] = [] if refusal is None else [Finding("refused", "the data", refusal)]
    first: dict[bytes, tuple[str, str]] = {}
    people, images, marked = {}, {}, {}
    for part, split in parts.items():
        findings += [Finding("left out", problem.path, problem.reason) for problem in split.problems]
        findings += [Finding("by design", problem.path, problem.reason) for problem in split.notes]
        usable: dict[str, _Seen] = {}
        for path, seen in _look(split, firsts[part]):
            done += 1
            if on_progress is not None:
                on_progress(done, total)
            if isinstance(seen, str):
                findings.append(Finding("damaged", path, seen))
                continue
            usable[path] = seen
            where, other = first.setdefault(seen.digest, (part, path))
            if where != part:
                findings.append(Finding("leak", path, f"the same as {other} ({where})"))
            if seen.orientation != 1:
                findings.append(Finding("turned, as annotated", path, f"EXIF orientation {seen.orientation}"))
        own = [(path, one) for path, one in zip(split.paths, split.people, strict=True) if path in usable]
        findings += [Finding("outside", path, told) for path, one in own if (told := _outside(one, usable[path].size))]
        people[part], images[part] = len(own), len(usable)
        marked[part] = tuple(sum(bool(one.marked[joint]) for _, one in own) for joint in range(len(joints)))
    if not any(images.values()):
        named = f"; the first is {findings[0].path}: {findings[0].detail}" if findings else ""
        raise ConvatlasError(f"none of {total} images can be used{named}")
    order = list(MEANING)
    findings.sort(key=lambda finding: (order.index(finding.kind), finding.path))
    return CheckedPeople(joints, people, images, marked, tuple(findings), time.perf_counter() - started)


def _look(split: PeopleSplit, places: list[int]) -> Iterator[tuple[str, _Seen | str]]:
    def look(place: int) -> tuple[str, _Seen | str]:
        path = split.name(place)
        try:
            image, _ = split.read_pair(place)
        except ConvatlasError as error:
            return path, problem_of(path, error).reason
        size = (image.shape[1], image.shape[2])
        return path, _Seen(hash_pixels(image.numpy()), exif_orientation(limits.read_bytes(path)), size)

    with ThreadPoolExecutor(threads()) as pool:
        for start in range(0, len(places), _TASK):  # no more images in memory than these
            yield from pool.map(look, places[start : start + _TASK])


def _outside(person: Person, size: tuple[int, int]) -> str | None:
    places = person.joints[person.marked]
    beyond = (places < -1) | (places > 1 + places.new_tensor([size[1], size[0]]))
    count = int(beyond.any(dim=1).sum())
    return f"{count} of {len(places)} marked joints beyond {size[1]} x {size[0]} pixels" if count else None
