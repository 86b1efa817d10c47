"""What the report of a run of any task has around its own sections: head, curves, proof, recipe and machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from convatlas import facts, registry
from convatlas.analysis import verify
from convatlas.data.limits import load_toml
from convatlas.errors import ConvatlasError
from convatlas.records import SCORES, NetworkCard, Problem
from convatlas.report import html, tables
from convatlas.report.html import Tile
from convatlas.report.paths import without_paths
from convatlas.training.recipe import Recipe
from convatlas.training.recipe import read as read_recipe
from convatlas.training.records import read_object
from convatlas.training.run import RunFolder, in_use, open_run
from convatlas.training.summary import training_seconds
from convatlas.visualise import curves


@dataclass(frozen=True)
class RunRecord:
    """What the files of a run folder tell, whether or not the run came to its end."""

    folder: RunFolder
    recipe: Recipe
    card: NetworkCard
    fields: dict[str, Any]  # recipe.toml as it stands
    environment: dict[str, Any]
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]  # empty where the run is not finished

    @property
    def seconds(self) -> float:
        """Of training and of testing after each epoch: the one training time that every command and page shows."""
        return training_seconds(self.summary, self.metrics)

    @property
    def selection(self) -> tuple[str, ...]:
        """Which epoch the numbers are of, and what it was chosen on, where the run has recorded that."""
        sentence = self.summary.get("selection")
        return (f"{sentence}.",) if isinstance(sentence, str) and sentence else ()

    @property
    def state(self) -> str:
        """A sentence on a run that has not come to its end; "" for one that has."""
        if self.summary or len(self.metrics) >= self.recipe.epochs:
            return ""
        done = f"{tables.plural(len(self.metrics), 'epoch', 'epochs')} of {self.recipe.epochs:,}"
        if in_use(self.folder):
            return f"This run is still going on: {done} are complete."
        return f"This run was stopped before its end: {done} are complete."


def read_run(path: Path) -> RunRecord:
    """Reads a run folder.

    Raises:
        ConvatlasError: the folder is no run, or one of its files can't be read.
    """
    folder = open_run(path)
    try:
        recipe = read_recipe(folder.recipe)
        environment = path / "environment.json"
        return RunRecord(
            folder,
            recipe,
            registry.card(recipe.network),
            load_toml(folder.recipe),
            read_object(environment) if environment.is_file() else {},
            folder.rows() if folder.metrics.is_file() else [],
            read_object(folder.summary) if folder.summary.is_file() else {},
        )
    except (OSError, ValueError) as error:
        raise ConvatlasError(f"{path} is an incomplete run: {error}") from error


@dataclass(frozen=True)
class Body:
    """What a task adds to the page of a run."""

    dataset: str
    lead: str
    tiles: list[Tile]
    sections: Markup
    links: list[tuple[str, str]]  # to the sections: (anchor, text)
    comparison: str = ""  # a sentence on the published result
    published_error: float | None = None  # a fraction, where it is of the same data: a line in the chart
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def context(run: RunRecord, body: Body) -> dict[str, Any]:
    """Everything that the template of a run's page names."""
    paper = paper_or_none(run.card.paper)
    problems = [(without_paths(problem.path), without_paths(problem.reason)) for problem in body.problems]
    links = [("training", "Training"), *body.links, ("verification", "Verification")]
    stated = stated_facts(run.card.name)
    links += [("stated", "What the paper states")] if stated else []
    links += [("recipe", "Recipe")]
    links += [("files", "Damaged files")] if problems else []
    return {
        "title": run.card.name,
        "subtitle": f"on {body.dataset}",
        "lead": body.lead,
        "links": [*links, ("environment", "Environment")],
        "warnings": [without_paths(sentence) for sentence in (run.state, *body.warnings) if sentence],
        "paper": paper,
        "paper_url": paper_url(paper.id) if paper else None,
        "tiles": [*body.tiles, training_tile(run)],
        "comparison": body.comparison,
        "notes": [sentence(note, run.card.name) for note in map(without_paths, (*run.selection, *run.recipe.notes))],
        "charts": charts(run, body.published_error),
        "caption": caption(run, body.published_error is not None),
        "body": body.sections,
        "verification": verification(run.card.name),
        "stated": stated,
        "network": run.card.name,
        "recipe": [(name, without_paths(value)) for name, value in tables.flatten(run.fields) if value],
        "environment": [(name, without_paths(value)) for name, value in tables.flatten(run.environment)],
        "problems": problems,
    }


def sentence(note: str, network: str) -> str:
    """With a capital, but for the network's name, which is written as one types it."""
    return note if note.startswith(network) else note[:1].upper() + note[1:]


def render(values: dict[str, Any]) -> Markup:
    return html.render("run.html", values)


def training_tile(run: RunRecord) -> Tile:
    images = run.metrics[0].get("images") if run.metrics else None
    epochs = tables.plural(len(run.metrics), "epoch", "epochs")
    return Tile(tables.duration(run.seconds), "of training", epochs + (f" of {images:,} images" if images else ""))


def parameters_tile(run: RunRecord, parameters: int) -> Tile:
    return Tile(f"{parameters:,}", "trained parameters", f"recipe: {run.recipe.variant or 'own'}")


def charts(run: RunRecord, published_error: float | None) -> list[Markup]:
    """Loss, error or scores, and the learning rate, by epoch."""
    if not run.metrics:
        return []
    drawn = [html.svg(curves.loss_figure(run.metrics), "Loss of every epoch")]
    if not any(name in row for row in run.metrics for name in SCORES):
        drawn.append(html.svg(curves.error_figure(run.metrics, published_error), "Error of every epoch"))
    else:
        drawn.append(html.svg(curves.scores_figure(run.metrics), "Scores of every epoch"))
    if (rates := curves.rate_figure(run.metrics)) is not None:
        drawn.append(html.svg(rates, "Learning rate of every epoch"))
    return drawn


def caption(run: RunRecord, published: bool) -> str:
    """What the curves are of."""
    held_out = "validation" if any("val_loss" in row for row in run.metrics) else "test"
    return (
        "Training values are means over an epoch, while the weights were changing; "
        f"{held_out} values are taken after it." + (" Dashed: the published test error." if published else "")
    )


def verification(name: str) -> dict[str, Any]:
    """What the paper printed, and anything that fails, apart from what only follows from its tables."""
    rows = verify.verify(name)
    derived = [row for row in rows if row.where == verify.DERIVED and row.verdict == "holds"]
    return {"printed": [row for row in rows if row not in derived], "derived": derived}


STATED = (  # (kind of fact, heading, how many are shown at once)
    ("result", "Published results", 12),
    ("statement", "Statements", 12),
    ("deviation", "Where libraries differ", 12),
    ("disputed", "What contradicts itself or can't be reproduced", 12),
    ("survey", "What surveys get wrong", 12),
)


def stated_facts(name: str) -> list[tuple[str, list[facts.Fact]]]:
    """What the ledger holds of a network besides its claims, which the proof shows: (heading, rows)."""
    if facts.network(name) is None:
        return []
    rows = [row for row in facts.fact_rows(facts.lookup(name)) if row.kind != "survey" or row.confidence == "false"]
    parts = [(title, [row for row in rows if row.kind == kind][:most]) for kind, title, most in STATED]
    return [(title, part) for title, part in parts if part]


def paper_or_none(key: str) -> facts.Paper | None:
    try:
        return facts.paper(key)
    except KeyError:
        return None


def paper_url(identifier: str) -> str | None:
    """Where a DOI, an arXiv number or an address leads."""
    kind, _, rest = identifier.partition(":")
    if kind in ("http", "https"):
        return identifier
    return {"doi": f"https://doi.org/{rest}", "arxiv": f"https://arxiv.org/abs/{rest}"}.get(kind.lower())
