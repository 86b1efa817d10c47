"""Images that stand in two classes: the same bytes under different labels, which nothing can learn."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from convatlas.data import DataSet
from convatlas.data.encoded import EncodedSplit
from convatlas.data.splits import ArraySplit, Split
from convatlas.training.inventory import CHEAP_BYTES, Inventory

_NAMED = 3


class Sample(NamedTuple):
    """One image of a data set, by its place."""

    split: str
    place: int
    label: str


def find_conflicts(data: DataSet, samples: Inventory) -> list[tuple[Sample, Sample]]:
    """Pairs of images with the same content and different labels, in any split.

    Sizes and checksums say which may be the same, and the bytes are compared; where there are no checksums and too
    many candidates, nothing is read and nothing is found.

    Args:
        data: of a classifier.
        samples: `inventory.take(data)`.
    """
    splits: dict[str, Split] = {"train": data.train, "test": data.test}
    if data.val is not None:
        splits["val"] = data.val
    groups: dict[tuple[int, int], list[Sample]] = defaultdict(list)
    for name, known in samples.splits.items():
        for index, (label, size) in enumerate(zip(known.labels, known.sizes, strict=True)):
            groups[size, known.checksums[index] if known.checksums else 0].append(Sample(name, index, label))
    doubtful = {key: members for key, members in groups.items() if len({member.label for member in members}) > 1}
    if sum(size * len(members) for (size, _), members in doubtful.items()) > CHEAP_BYTES:
        return []
    return [pair for members in doubtful.values() for pair in _alike(members, splits)]


def _alike(members: list[Sample], splits: dict[str, Split]) -> Iterator[tuple[Sample, Sample]]:
    """Each image against the first with its bytes."""
    first: dict[bytes, Sample] = {}
    for member in members:
        content = _content(splits[member.split], member.place)
        other = first.setdefault(content, member) if content else member
        if other.label != member.label:
            yield other, member


def _content(split: Split, index: int) -> bytes:
    """The bytes of a file or of an image in memory; nothing where it can't be read."""
    try:
        if isinstance(split, EncodedSplit):
            return split.encoded(index)
        return split.images[index].numpy().tobytes() if isinstance(split, ArraySplit) else b""
    except OSError:
        return b""


def describe_conflicts(data: DataSet, pairs: list[tuple[Sample, Sample]]) -> str:
    """One sentence that names some of them."""
    splits = {"train": data.train, "val": data.val, "test": data.test}

    def name(sample: Sample) -> str:
        split = splits[sample.split]
        return f"{split.name(sample.place) if split is not None else sample.place} ({sample.label}, {sample.split})"

    named = "; ".join(f"{name(one)} is {name(other)}" for one, other in pairs[:_NAMED])
    more = f" and {len(pairs) - _NAMED:,} more; `convatlas data check` names all" if len(pairs) > _NAMED else ""
    count = "an image stands" if len(pairs) == 1 else f"{len(pairs):,} images stand"
    return f"{count} in two classes, which can't be learned: {named}{more}"
