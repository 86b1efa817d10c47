"""`convatlas runs`: the runs of a folder beside one another."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.common import console, print_json, warn
from convatlas.cli.tables import Column, print_table
from convatlas.errors import ConvatlasError, UsageError
from convatlas.readable import duration
from convatlas.records import SCORES, score_name

if TYPE_CHECKING:
    from convatlas.training import Recipe

ORDERS = ("started", "error", "network")
UNREADABLE = (ConvatlasError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)
COLUMNS = (
    Column("run", wrap=16),
    Column("network", left_out=4),
    Column("data", left_out=3),
    Column("recipe", left_out=2),
    Column("epochs", right=True),
    Column("measure"),
    Column("best", right=True),
    Column("last", right=True, left_out=1),
    Column("time", right=True),
    Column("state"),
)
UNCOMPARED = ("network", "variant", "source", "expected", "cost", "notes")  # for people, or shown anyway


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of runs, at any depth.")] = Path("runs"),
    sort: Annotated[str, typer.Option(help=f"{', '.join(ORDERS)}.")] = "started",
    differences: Annotated[
        bool, typer.Option("--differences", help="Also the fields of the recipes in which the runs differ.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
) -> None:
    """List the runs of a folder and compare them: network, data, recipe, measure, duration, and what became of them.

    The measure is the test error of a classifier, and of another network what its task is measured by. A run is
    finished, running, resumable (it was stopped; `convatlas train --resume RUN` goes on), or interrupted before its
    first checkpoint (`--resume` begins it again).
    """
    if sort not in ORDERS:
        raise UsageError(f"--sort is {sort!r}; expected one of {', '.join(ORDERS)}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; expected one that holds runs (`convatlas train` makes them in runs/)")
    found = []
    for path in sorted({recipe.parent for recipe in folder.rglob("recipe.toml")}):
        try:
            found.append((entry(path, folder), path))
        except UNREADABLE as error:
            warn(f"skipped {path}: {reason(error, path)}")
    keys: dict[str, Any] = {
        "started": lambda row: row["started"] or "",
        "error": lambda row: (row["best_error"] is None, row["best_error"] or 0.0),
        "network": lambda row: (row["network"], row["started"] or ""),
    }
    found.sort(key=lambda pair: keys[sort](pair[0]))
    rows = [row for row, _ in found]
    differing = differing_fields([path for _, path in found]) if differences else {}
    if json:
        print_json({"runs": rows, "differences": differing} if differences else rows)
        return
    if not rows:
        console().print(f"no runs in {folder}; `convatlas train lenet5` makes one", markup=False)
        return
    print_runs(rows)
    if differences:
        print_differences(rows, differing)


def entry(path: Path, folder: Path) -> dict[str, Any]:
    """A run as plain values."""
    from convatlas.training import open_run
    from convatlas.training.recipe import read
    from convatlas.training.records import read_object
    from convatlas.training.run import in_use
    from convatlas.training.summary import training_seconds

    run = open_run(path)
    recipe = read(run.recipe)
    rows = run.rows() if run.metrics.exists() else []
    environment = path / "environment.json"
    summary = read_object(run.summary) if run.summary.exists() else None
    if summary is not None:
        state = "finished"
    elif in_use(run):
        state = "running"
    else:
        state = "resumable" if list(run.states.glob("step-*")) else "interrupted"
    error = (
        "val_error" if rows and "val_error" in rows[-1] else "test_error"
    )  # of the split that epochs are compared on
    measure = next((name for name in SCORES if rows and name in rows[-1]), error)
    values = [value for row in rows if isinstance(value := row.get(measure), float | int) and math.isfinite(value)]
    errors = [value if measure == error else 1 - value for value in values]
    best = min(range(len(errors)), key=errors.__getitem__, default=None)
    ended = summary or {}
    return {
        "run": str(path.relative_to(folder)) if path != folder else path.name,
        "network": recipe.network,
        "data": Path(recipe.data.spec).name,
        "recipe": recipe.variant,
        "epochs": len(rows),
        "planned_epochs": recipe.epochs,
        "measure": measure,
        "protocol": (rows[-1].get("protocol") if rows else None) or ended.get("protocol"),
        "best": None if best is None else values[best],
        "last": values[-1] if values else None,
        "best_error": None if best is None else errors[best],
        "last_error": errors[-1] if errors else None,
        "seconds": training_seconds(ended, rows),
        "images_per_s": rows[-1].get("images_per_s") if rows else None,
        "state": state,
        "started": read_object(environment).get("started") if environment.exists() else None,
    }


def reason(error: BaseException, path: Path) -> str:
    """Why a run can't be read, in one sentence."""
    import json

    if isinstance(error, json.JSONDecodeError):
        return f"a damaged file of JSON in it ({error})"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or path}: {error.strerror}"
    return (
        str(error) if isinstance(error, ConvatlasError) else f"not what a run holds ({type(error).__name__}: {error})"
    )


def differing_fields(paths: list[Path]) -> dict[str, list[Any]]:
    """Field of the recipe -> its value in each run, where they are not all the same; None where a run has none."""
    from convatlas.training.recipe import read

    flat = [flattened(read(path / "recipe.toml")) for path in paths]
    names = dict.fromkeys(name for values in flat for name in values)
    return {
        name: [values.get(name) for values in flat]
        for name in names
        if name.split(".")[0] not in UNCOMPARED and any(values.get(name) != flat[0].get(name) for values in flat)
    }


def flattened(recipe: "Recipe") -> dict[str, Any]:
    """{"optimizer.lr": 0.1, ...}"""
    from convatlas.training.plain import plain

    found: dict[str, Any] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, entry in value.items():
                walk(entry, f"{name}.{key}" if name else key)
        else:
            found[name] = value

    walk(plain(recipe), "")
    return found


def print_runs(rows: list[dict[str, Any]]) -> None:
    lines = [
        (
            row["run"],
            row["network"],
            row["data"],
            row["recipe"],
            f"{row['epochs']}/{row['planned_epochs']}",
            measure_name(row),
            percent(row["best"]),
            percent(row["last"]),
            duration(row["seconds"]),
            row["state"],
        )
        for row in rows
    ]
    print_table(console(), COLUMNS, lines)


def measure_name(row: dict[str, Any]) -> str:
    """ "error", "validation error", "mean IoU", "mAP (VOC 2010)"."""
    if row["measure"] in SCORES:
        return score_name(row["measure"], row["protocol"])
    return "validation error" if row["measure"] == "val_error" else "error"


def print_differences(rows: list[dict[str, Any]], differing: dict[str, list[Any]]) -> None:
    if not differing:
        console().print("\nthe recipes are the same")
        return
    columns = [Column("field"), *(Column(row["run"], wrap=12) for row in rows)]
    lines = [(name, *("" if value is None else str(value) for value in values)) for name, values in differing.items()]
    console().print()
    print_table(console(), columns, lines)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}%"
