"""What a command leaves on a pseudo-terminal."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pyte

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38)(?:;\d+)*m")


@dataclass(frozen=True)
class Shown:
    """What a command left on the terminal."""

    output: str  # with escape sequences
    screen: tuple[str, ...]  # lines as a person sees them in the end
    code: int
    first_s: float | None  # seconds until something was written

    @property
    def text(self) -> str:
        return "\n".join(self.screen)


class Terminal:
    """Runs commands of the package under a pseudo-terminal."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process, self.folder = process, folder

    def __call__(
        self, *arguments: str, columns: int = 80, colour: bool = True, interrupt_after: str | None = None
    ) -> Shown:
        environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
        environment |= {"TERM": "xterm-256color", "CONVATLAS_CACHE": str(self.folder / "cache")}
        environment |= {} if colour else {"NO_COLOR": "1"}
        request = {
            "arguments": arguments, "columns": columns, "environment": environment, "cwd": str(self.folder),
            "timeout": 240, "interrupt_after": interrupt_after,
        }  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        screen = pyte.HistoryScreen(columns, 2000)
        pyte.Stream(screen).feed(answer["output"])
        lines = tuple("\n".join(line.rstrip() for line in screen.display).rstrip().splitlines())
        return Shown(answer["output"], lines, answer["code"], answer["first_s"])
