"""What `train` says of its data before it begins: what it won't see, and test images that are training images."""

from typing import TYPE_CHECKING

from convatlas.cli.common import visible, warn

if TYPE_CHECKING:
    from convatlas.data import DataSet

_SHOWN = 3


def report_data(loaded: "DataSet") -> None:
    """Warn of images that are left out, and in one line of leaks where looking for them is cheap."""
    from convatlas.data import leaks
    from convatlas.data.files import SourceProblem
    from convatlas.data.findings import HARMFUL

    splits = [split for split in (loaded.train, loaded.val, loaded.test) if split is not None]
    problems = [problem for split in splits for problem in split.problems]
    harmful = [p for p in dict.fromkeys(problems) if isinstance(p, SourceProblem) and p.kind in HARMFUL]
    for problem in harmful[:_SHOWN]:
        warn(f"{visible(problem.path)}: {visible(problem.reason)}")
    if len(harmful) > _SHOWN:
        warn(f"... and {len(harmful) - _SHOWN:,} more of the kind; `convatlas data check` names all")
    pairs = leaks.find_cheaply(loaded)
    if pairs:
        first = pairs[0]
        nearly = "is nearly a training image" if len(pairs) == 1 else "are nearly training images"
        warn(
            f"{len(pairs):,} of {len(loaded.test):,} test images {nearly}, so the test error will "
            f"seem lower than it is: {visible(loaded.test.name(first.index))} is {first.how} "
            f"{visible(loaded.train.name(first.other_index))}; `convatlas data check` names all"
        )


def report_annotated(loaded: "DataSet", task: str) -> None:
    """Warn in one line of what is left out of data with masks, boxes or joints; the run names each at its end."""
    splits = [split for split in (loaded.train, loaded.val, loaded.test) if split is not None]
    problems = list(dict.fromkeys(problem for split in splits for problem in split.problems))
    if problems:
        things = (
            "1 thing in the data needs a look:"
            if len(problems) == 1
            else (f"{len(problems):,} things in the data need a look, such as")
        )
        warn(
            f"{things} {visible(problems[0].path)}: "
            f"{visible(problems[0].reason)}; `convatlas data check --task {task}` names all and what training does"
        )
