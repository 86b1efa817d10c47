"""What `data check` of every task found, in the terminal: harmful kinds in red, the others in yellow."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from convatlas.cli.common import console, visible

if TYPE_CHECKING:
    from convatlas.data.findings import Finding

SHOWN = 20  # of each kind


def list_findings(findings: "Sequence[Finding]", meaning: Mapping[str, str], harmful: Collection[str]) -> None:
    """The findings of each kind, in the order of `meaning`."""
    for kind, sentence in meaning.items():
        lines = [f"{finding.path}: {finding.detail}" for finding in findings if finding.kind == kind]
        list_some(kind, sentence, lines, "red" if kind in harmful else "yellow")


def list_some(kind: str, meaning: str, lines: Sequence[str], colour: str) -> None:
    """A heading and the first lines; nothing where there is none."""
    say = console().print
    if not lines:
        return
    say(f"\n[bold {colour}]{kind}[/] ({len(lines):,}): {meaning}")
    for line in lines[:SHOWN]:
        say(f"  {visible(line)}", markup=False)
    if len(lines) > SHOWN:
        say(f"  ... and {len(lines) - SHOWN:,} more; --json lists all", style="dim")
