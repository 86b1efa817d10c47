"""The last words of `convatlas train`, as text or JSON."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from convatlas.cli.common import console, literal, print_json
from convatlas.readable import duration
from convatlas.records import SCORES, protocol_words
from convatlas.terminal.epochs import percent


def summarise(trained: Any, recipe: Any, page: Path | None, *, json: bool) -> None:
    """The last words of a run: what was reached, what was published and how the two compare, and where to look."""
    from convatlas import report
    from convatlas.records import Evaluation

    result = trained.evaluation
    if not isinstance(result, Evaluation):
        summarise_scores(trained, recipe, page, json=json)
        return
    n = len(result.labels)
    wrong = round(result.top1_error * n)
    low, high = report.error_interval(result)
    beside = report.beside(result, recipe, trained.run.rows())
    if json:
        print_json(
            {
                "network": recipe.network,
                "recipe": recipe.variant,
                "run": str(trained.run.path),
                "report": str(page) if page else None,
                "protocol": result.protocol,
                "test_error": result.top1_error,
                "top5_error": result.top5_error,
                "test_errors": wrong,
                "test_samples": n,
                "interval_95": [low, high],
                "training_seconds": trained.seconds,
                **selection(trained),
                "expected": recipe.expected,
                "published": asdict(beside.result) if beside.result and beside.comparable else None,
                "comparison": beside.sentence if beside.same_data else None,
            }
        )
        return
    console().print(
        f"\n[bold]test error {percent(result.top1_error)}[/] ({wrong} of {n:,}; 95% interval {100 * low:.2f} to "
        f"{percent(high)}), {result.protocol}, trained in {duration(trained.seconds)}\n{trained.summary.selection}"
    )
    if beside.result and beside.same_data:
        if beside.comparable:
            console().print(f"published: {beside.result}", markup=False)
        console().print(f"  {beside.sentence}", markup=False, style="dim")
    console().print(f"run folder {literal(trained.run.path)}", soft_wrap=True)
    if page:
        console().print(
            f"report     {literal(page)}: curves, confusion, the worst mistakes, filters, feature maps and the proof; "
            "open it in a browser"
        )


def summarise_scores(trained: Any, recipe: Any, page: Path | None, *, json: bool) -> None:
    """The last words of a run of another task than classification."""
    from convatlas import report
    from convatlas.report.published import dataset_name

    result = trained.evaluation
    scores = result.scores()
    printed = report.printed_beside((recipe.network,), dataset_name(recipe), result)
    if json:
        print_json(
            {
                "network": recipe.network,
                "recipe": recipe.variant,
                "run": str(trained.run.path),
                "report": str(page) if page else None,
                "protocol": result.protocol,
                "test_error": result.error,
                "test_loss": result.loss,
                **scores,
                "training_seconds": trained.seconds,
                **selection(trained),
                "expected": recipe.expected,
                "published": [asdict(row) for row in printed],
            }
        )
        return
    reached = ", ".join(f"{SCORES[name]} {percent(value)}" for name, value in scores.items() if name in SCORES)
    console().print(
        f"\n[bold]{reached}[/], {protocol_words(result)}, trained in {duration(trained.seconds)}\n"
        f"{trained.summary.selection}"
    )
    for row in printed:
        console().print(f"published: {row}", markup=False)
    console().print(f"run folder {literal(trained.run.path)}", soft_wrap=True)
    if page:
        console().print(f"report     {literal(page)}: open it in a browser")


def selection(trained: Any) -> dict[str, Any]:
    """Which epoch the numbers are of, for JSON."""
    summary = trained.summary
    return {
        "epoch": summary.epoch,
        "epochs": summary.epochs,
        "kept": summary.kept,
        "chosen_on": summary.chosen_on,
        "selection": summary.selection,
    }
