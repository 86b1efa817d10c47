"""`convatlas train --folds K`: K runs that differ in their validation split, and what they have reached together."""

import json as json_module
from dataclasses import replace
from pathlib import Path
from typing import Any

from convatlas.cli.common import console, literal, print_json, progress, warn
from convatlas.cli.training_run import Manner, train_one
from convatlas.terminal.epochs import percent


def train_folds(recipe: Any, manner: Manner, *, json: bool) -> None:
    """Trains one run a fold in sub-folders of `manner.out`, and writes `folds.json` beside them.

    A cross-validation that was stopped goes on where it was: finished folds are taken as they are.

    Args:
        recipe: of the first fold.
        manner: of each run; `out` is the folder of all, `resume` whether it was begun before.
        json: print one JSON document.
    """
    from convatlas.training import folds
    from convatlas.training.plan import begun
    from convatlas.training.run import write_text
    from convatlas.training.sources import load_data

    count = recipe.data.folds
    results = []
    for fold in range(1, count + 1):
        own = replace(manner, out=folds.fold_folder(manner.out, fold))
        if manner.resume and (result := folds.finished_result(manner.out, fold)) is not None:
            results.append(result)
            continue
        own = replace(own, resume=manner.resume and (own.out / "recipe.toml").is_file())
        source = replace(recipe.data, fold=fold)
        with progress(f"Reading fold {fold}"):
            if own.resume:
                its_recipe, loaded = begun(own.out, None)
            else:
                its_recipe = replace(recipe, data=source)
                loaded = load_data(source, recipe.network, seed=recipe.seed)
        if not manner.quiet:
            console().print(f"\n[bold]fold {fold} of {count}[/]: {len(loaded.val or ()):,} images to validate on")
        trained, _ = train_one(its_recipe, loaded, own)
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
