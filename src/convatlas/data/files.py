"""Which files of a folder are images, which are not data, and which have to be named because they are not read."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convatlas.records import Problem

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".j2c", ".jpf", ".jpx"),
    )
)
UNREAD_SUFFIXES = frozenset(
    (
        *(".svg", ".psd", ".xcf", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".jxl", ".dcm"),
        *(".exr", ".hdr", ".nii", ".eps", ".pdf", ".npy", ".mat", ".fits", ".ico", ".mp4", ".avi", ".mov", ".mkv"),
    )
)
_JUNK_FOLDERS = frozenset(
    ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found")
)
_JUNK_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini"))
_SIGNATURES = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
)
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"hevc", b"msf1")


@dataclass(frozen=True)
class SourceProblem(Problem):
    """A file or folder of a source that is not read, or reads otherwise than it seems; `kind` is as in `findings`."""

    kind: str = "left out"


@dataclass
class Walk:
    """What lies below a folder: images in the order of their names, and what has to be said about the rest."""

    images: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)  # names of the sub-folders at the first level


def is_junk(name: str) -> bool:
    """Whether a file or folder is not data: hidden ones, checkpoints of notebooks, and what systems leave behind."""
    return name.startswith(".") or name.lower() in _JUNK_FOLDERS | _JUNK_FILES


def is_image_name(name: str) -> bool:
    """Whether a file's suffix is an image's."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def is_printable(name: str) -> bool:
    """Whether a file's name is UTF-8; others can't be written into lists, reports and terminals."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(name: str) -> str:
    """A name with what is not UTF-8 written as escapes: b"caf\\xe9" becomes "caf\\\\xe9"."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def sub_folders(path: Path) -> tuple[list[Path], list[Problem]]:
    """The folders directly in a folder that may hold data, sorted by name, and those whose names can't be used.

    Raises:
        OSError: the folder can't be read.
    """
    entries = sorted((entry for entry in path.iterdir() if entry.is_dir()), key=lambda entry: entry.name)
    visible = [entry for entry in entries if not is_junk(entry.name)]
    unnamed = [entry for entry in visible if not is_printable(entry.name)]
    problems: list[Problem] = [
        SourceProblem(
            printable(str(entry)), f"its name is not UTF-8, so its {count_images(entry):,} images are left out"
        )
        for entry in unnamed
    ]
    return [entry for entry in visible if is_printable(entry.name)], problems


def loose_images(path: Path) -> list[str]:
    """The names of images directly in a folder, sorted.

    Raises:
        OSError: the folder can't be read.
    """
    names = sorted(entry.name for entry in path.iterdir() if not entry.is_dir())
    return [name for name in names if not is_junk(name) and is_image_name(name)]


def count_images(path: Path) -> int:
    """How many images lie below a folder, links to folders not followed."""
    total = 0
    for _, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not is_junk(name)]
        total += sum(is_image_name(name) and not is_junk(name) for name in files)
    return total


def has_images(path: Path) -> bool:
    """Whether any image lies below a folder, links to folders followed once."""
    files = _files(str(path), Walk())
    return any(
        is_image_name(name) or (not os.path.splitext(name)[1] and _looks_like_an_image(file)) for file, name in files
    )


def walk_images(folder: Path) -> Walk:
    """All images below a folder, at any depth. Links to folders are followed; one that leads back is named.

    What has an image's contents under another suffix, what is an image of a kind that nobody here reads, and what
    can't be opened or named is among the problems.
    """
    walk = Walk()
    for file, name in _files(str(folder), walk):
        if not is_printable(file):
            walk.problems.append(SourceProblem(printable(file), "its name is not UTF-8; rename it"))
        elif is_image_name(name):
            walk.images.append(file)
        elif problem := _odd_file(file, os.path.splitext(name)[1].lower()):
            walk.problems.append(problem)
        elif not os.path.splitext(name)[1] and _looks_like_an_image(file):
            walk.images.append(file)  # named by a number or a hash
    return walk


def _files(top: str, walk: Walk) -> Iterator[tuple[str, str]]:
    """(path, name) of every file that may be data, folder by folder."""
    waiting: list[tuple[str, tuple[str, ...]]] = [(top, ())]
    while waiting:
        folder, above = waiting.pop()
        real = os.path.realpath(folder)
        if any(real == other or other.startswith(real.rstrip(os.sep) + os.sep) for other in above):
            reason = "a link that leads back to a folder above it; it is not followed"
            walk.problems.append(SourceProblem(printable(folder), reason, "link"))
            continue
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            walk.problems.append(SourceProblem(printable(folder), f"the folder can't be read: {error.strerror}"))
            continue
        visible = [entry for entry in found if not is_junk(entry.name)]
        folders = [entry for entry in visible if _is_folder(entry)]
        if not above:
            walk.folders |= {entry.name for entry in folders}
        names = {entry.name for entry in folders}
        yield from ((entry.path, entry.name) for entry in visible if entry.name not in names)
        waiting += [(entry.path, (*above, real)) for entry in reversed(folders)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _odd_file(file: str, suffix: str) -> Problem | None:
    if suffix in UNREAD_SUFFIXES:
        return SourceProblem(file, f"{suffix} files are not read; convert them to .png or .jpg", "not read")
    if suffix and _looks_like_an_image(file):
        return SourceProblem(
            file, f"an image by its first bytes, but not by its suffix {suffix!r}; rename it", "misnamed"
        )
    return None


def _looks_like_an_image(file: str) -> bool:
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            return False
        with open(file, "rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    boxed = head[4:8] == b"ftyp" and head[8:12] in _BRANDS
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP") or boxed


def list_others(path: Path, known: Sequence[str]) -> list[str]:
    """Files below a folder that are neither images nor among the known ones, hidden ones left out, sorted."""
    taken = {os.path.realpath(file) for file in known}
    others = []
    for parent, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for name in sorted(files):
            file = os.path.join(parent, name)
            if not is_junk(name) and not is_image_name(name) and os.path.realpath(file) not in taken:
                others.append(printable(file))
    return others
