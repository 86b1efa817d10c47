"""`convatlas train --folds K`: K runs that differ in their validation split, and what they have reached together."""

import json as json_module
from dataclasses import replace
from pathlib import Path
from typing import Any

from convatlas.cli.common import console, literal, print_json, progress, warn
from convatlas.cli.training_run import Manner, train_one
from convatlas.terminal.epochs import percent


def train_folds(recipe: Any, loaded: Any, manner: Manner, *, json: bool) -> None:
    """Trains one run a fold in sub-folders of `manner.out`, and writes `folds.json` beside them.

    Args:
        recipe: of the first fold.
        loaded: the data of the first fold.
        manner: of each run; `out` is the folder of all.
        json: print one JSON document.
    """
    from convatlas.training import folds
    from convatlas.training.run import write_text
    from convatlas.training.sources import load_data

    count = recipe.data.folds
    results = []
    for fold in range(1, count + 1):
        source = replace(recipe.data, fold=fold)
        if fold > 1:
            with progress(f"Reading fold {fold}"):
                loaded = load_data(source, recipe.network, seed=recipe.seed)
        if not manner.quiet:
            console().print(f"\n[bold]fold {fold} of {count}[/]: {len(loaded.val):,} images to validate on")
        own = replace(manner, out=manner.out / f"fold{fold}")
        trained, _ = train_one(replace(recipe, data=source), loaded, own)
        results.append(folds.result_of(trained, fold))
        for problem in trained.evaluation.problems:
            warn(f"fold {fold} skipped {problem.path}: {problem.reason}")
    summary = folds.summarise(results)
    write_text(manner.out / "folds.json", json_module.dumps(summary, indent=2))
    if json:
        print_json({"network": recipe.network, "recipe": recipe.variant, "folder": str(manner.out), **summary})
        return
    show(summary, manner.out)


def show(summary: dict[str, Any], folder: Path) -> None:
    say = console().print
    say()
    for entry in summary["folds"]:
        say(
            f"fold {entry['fold']}: validation error {percent(entry['val_error'])}, test error "
            f"{percent(entry['test_error'])} (epoch {entry['epoch']} of {entry['epochs']})"
        )
    for name, words in (("val_error", "validation error"), ("test_error", "test error")):
        mean, interval = summary[name]["mean"], summary[name]["interval_95"]
        low, high = interval
        say(
            f"[bold]{words} {percent(mean)}[/], mean of {len(summary['folds'])} folds, 95% interval "
            f"{percent(low)} to {percent(high)}"
        )
    say(f"runs and folds.json in {literal(folder)}")
