"""`convatlas runs`: the runs of a folder beside one another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.common import console, duration, print_json, warn
from convatlas.structures import ConvatlasError, UsageError

if TYPE_CHECKING:
    from convatlas.training import Recipe

ORDERS = ("started", "error", "network")
UNCOMPARED = ("network", "variant", "source", "expected", "cost", "notes")  # for people, or shown anyway


def command(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="A folder of runs, at any depth.")] = Path("runs"),
    sort: Annotated[str, typer.Option(help=f"{', '.join(ORDERS)}.")] = "started",
    differences: Annotated[
        bool, typer.Option("--differences", help="Also the fields of the recipes in which the runs differ.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
) -> None:
    """List the runs of a folder and compare them: network, data, recipe, errors, duration, and what became of them.

    A run is finished, running, resumable (it was stopped; `convatlas train --resume RUN` goes on), or interrupted
    before its first checkpoint (`--resume` begins it again).
    """
    if sort not in ORDERS:
        raise UsageError(f"--sort is {sort!r}; expected one of {', '.join(ORDERS)}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; expected one that holds runs (`convatlas train` makes them in runs/)")
    found = []
    for path in sorted({recipe.parent for recipe in folder.rglob("recipe.toml")}):
        try:
            found.append((entry(path, folder), path))
        except (ConvatlasError, ValueError, KeyError) as error:
            warn(f"skipped {path}: {error}")
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
        console().print(f"no runs in {folder}; `convatlas train lenet5` makes one")
        return
    print_runs(rows)
    if differences:
        print_differences(rows, differing)


def entry(path: Path, folder: Path) -> dict[str, Any]:
    """A run as plain values."""
    import json

    from convatlas.training import open_run
    from convatlas.training.recipe import read
    from convatlas.training.run import in_use

    run = open_run(path)
    recipe = read(run.recipe)
    rows = run.rows() if run.metrics.exists() else []
    errors = [row["test_error"] for row in rows]
    environment = path / "environment.json"
    if run.summary.exists():
        state = "finished"
    elif in_use(run):
        state = "running"
    else:
        state = "resumable" if list(run.states.glob("step-*")) else "interrupted"
    return {
        "run": str(path.relative_to(folder)) if path != folder else path.name,
        "network": recipe.network,
        "data": Path(recipe.data.spec).name,
        "recipe": recipe.variant,
        "epochs": len(rows),
        "planned_epochs": recipe.epochs,
        "best_error": min(errors, default=None),
        "last_error": errors[-1] if errors else None,
        "seconds": sum(row["seconds"] for row in rows),
        "images_per_s": rows[-1]["images_per_s"] if rows else None,
        "state": state,
        "started": json.loads(environment.read_text()).get("started") if environment.exists() else None,
    }


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
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in ("run", "network", "data", "recipe", "epochs", "best", "last", "time", "state"):
        right = name in ("epochs", "best", "last", "time")
        table.add_column(name, justify="right" if right else "left", overflow="fold" if name == "run" else "ellipsis")
    for row in rows:
        table.add_row(
            row["run"],
            row["network"],
            row["data"],
            row["recipe"],
            f"{row['epochs']}/{row['planned_epochs']}",
            percent(row["best_error"]),
            percent(row["last_error"]),
            duration(row["seconds"]),
            row["state"],
        )
    console().print(table)


def print_differences(rows: list[dict[str, Any]], differing: dict[str, list[Any]]) -> None:
    from rich.table import Table

    if not differing:
        console().print("\nthe recipes are the same")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("field")
    for row in rows:
        table.add_column(row["run"], overflow="fold")
    for name, values in differing.items():
        table.add_row(name, *("" if value is None else str(value) for value in values))
    console().print()
    console().print(table)


def percent(error: float | None) -> str:
    return "" if error is None else f"{100 * error:.2f}%"
