"""`convatlas train NAME --find-lr`: loss against learning rate, as an image and a suggestion."""

from pathlib import Path
from typing import Any

from convatlas.cli.arguments import make_parent
from convatlas.cli.common import console, literal, print_json, progress


def draw(recipe: Any, data: Any, out: Path | None, *, device: str | None, workers: int, json: bool) -> None:
    """Writes the curve as a PNG and prints what it suggests."""
    from matplotlib.figure import Figure

    from convatlas.training.finder import find_rate

    with progress("Trying learning rates") as step:
        curve = find_rate(recipe, data, device=device, workers=workers, on_progress=step)
    path = make_parent(out or Path(f"lr-{recipe.network}-{data.name}.png"))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color="0.8", label="each step")
    axes.plot(curve.rates, curve.smoothed, color="C0", label="smoothed")
    axes.axvline(curve.suggestion, color="C1", linestyle="--", label=f"suggested: {curve.suggestion:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    finite = [loss for loss in curve.smoothed if loss == loss]
    axes.set_ylim(top=max(finite[0] * 1.5, min(finite) * 1.5), bottom=0)
    axes.set_title(f"{recipe.network} on {data.name}, batch {recipe.batch_size}")
    axes.legend()
    figure.savefig(path, dpi=120)
    if json:
        print_json({
            "network": recipe.network, "data": data.name, "suggestion": curve.suggestion, "picture": str(path),
            "recipe_lr": recipe.optimizer.lr, "rates": curve.rates, "losses": curve.losses,
        })  # fmt: skip
        return
    console().print(
        f"the loss falls fastest around [bold]{curve.suggestion:.1e}[/]; the recipe has {recipe.optimizer.lr:g}\n"
        f"curve {literal(path)}\nto take it: the same command with --lr {curve.suggestion:.1e} in place of --find-lr"
    )
