"""Names of files for people who are not at the machine: a page tells nothing of where its folders lie."""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

INSIDE = r"[^\s/\\:;,'\"()\[\]<>]+"
ABSOLUTE = re.compile(rf"(?<![\w/\\.:~…-])(?:[A-Za-z]:)?[/\\](?:{INSIDE}[/\\])+({INSIDE})?")


def short(path: str | Path) -> str:
    """A path without the folders that only this machine has: its last two parts, or all of a relative one."""
    text = str(path)
    for kind in (PurePosixPath(text), PureWindowsPath(text)):
        if kind.is_absolute():
            inside = kind.parts[1:]
            return "/".join(inside if len(inside) < 2 else ("…", *inside[-2:]))
    return text


def without_paths(text: str) -> str:
    """A sentence whose absolute paths are shortened to their last part; of a path alone the last two stay."""
    if not re.search(r"\s", text):
        text = short(text)
    return ABSOLUTE.sub(lambda found: f"…/{found[1]}" if found[1] else "…", text)


def below_common(paths: Sequence[str]) -> list[str]:
    """Paths from the folder that holds them all; relative ones as they are."""
    if not paths or not all(Path(path).is_absolute() for path in paths):
        return [short(path) for path in paths]
    folder = os.path.commonpath([str(Path(path).parent) for path in paths])
    return [Path(path).relative_to(folder).as_posix() for path in paths]
