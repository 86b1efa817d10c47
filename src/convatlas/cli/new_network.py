"""`convatlas new-network`: the files of a network that is to be added, ready to be filled in."""

import importlib
import re
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated

import typer

import convatlas
from convatlas.cli.common import console
from convatlas.errors import ConvatlasError, UsageError
from convatlas.io import write_file

if TYPE_CHECKING:
    from convatlas.records import NetworkCard

TEMPLATES = Path(__file__).parent / "templates"
DEFAULTS = {  # input and classes: ImageNet, VOC with and without background, MPII
    "classification": ((3, 224, 224), 1000, "classes", "logits"),
    "segmentation": ((3, 224, 224), 21, "classes", "logits"),
    "detection": ((3, 300, 300), 20, "classes without background", "logits"),
    "pose": ((3, 256, 256), 16, "joints", "heat maps"),
}
TABLE = re.compile(r"^layers = \[\n.*?^\]\n", re.MULTILINE | re.DOTALL)


def command(
    name: Annotated[str, typer.Argument(help="How the network is to be called, as se_resnet50.")],
    task: Annotated[str, typer.Option("--task", help=f"One of {', '.join(DEFAULTS)}.")] = "classification",
    paper: Annotated[
        str | None,
        typer.Option("--paper", help="Key of its paper in the ledger: first author, year, a word: hu2018_senet."),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Write only the layer table again, from the network as it now is.")
    ] = False,
) -> None:
    """Write the files of a new network into the checkout: the network, its ledger, a recipe and a test.

    What is written runs at once: a network of two layers, in place of which the paper's goes. Its layer table is traced
    from the code, and marked as unverified until somebody has held it to the paper; `--table` writes it anew.
    CONTRIBUTING.md goes through all of it with a real network.
    """
    root = checkout()
    if task not in DEFAULTS:
        raise UsageError(f"--task {task}; expected one of {', '.join(DEFAULTS)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"name is {name!r}; expected small letters, digits and underscores, as se_resnet50")
    out = console()
    if table:
        out.print(write_table(root, name).relative_to(root).as_posix(), highlight=False)
        return
    if paper is None:
        raise UsageError("--paper is missing; expected first author, year and a word, as hu2018_senet")
    year = re.search(r"(?:18|19|20)\d\d", paper)
    if year is None or not re.fullmatch(r"[a-z][a-z0-9_]*", paper):
        raise UsageError(f"--paper {paper}; expected first author, year and a word, as hu2018_senet")
    for path in write_files(root, name, task, paper, year[0]):
        out.print(path.relative_to(root).as_posix(), highlight=False)
    out.print(f"next: convatlas verify {name}; CONTRIBUTING.md has the steps", highlight=False)


def checkout() -> Path:
    """The checkout that this package runs from.

    Raises:
        ConvatlasError: it was installed without one.
    """
    package = Path(convatlas.__file__).resolve().parent
    root = package.parents[1]
    if package.parent.name != "src" or not (root / "pyproject.toml").is_file():
        raise ConvatlasError(f"{package} is not in a checkout; clone the repository and install it with --editable")
    return root


def write_files(root: Path, name: str, task: str, paper: str, year: str) -> list[Path]:
    """Writes the network, its ledger entry with a traced table, a recipe and a test; returns their paths.

    Raises:
        UsageError: a network or one of the files has that name already; nothing was written.
    """
    from convatlas import facts, registry

    if name in registry.names():
        raise UsageError(f"name is {name!r}, which is registered; expected a new one, or --table")
    package = root / "src/convatlas"
    ledger = package / f"facts/papers/{paper}.toml"
    files = {
        package / f"architectures/{task}/{name}.py": f"{task}.py",
        folder(package / "training/recipes", task) / f"{name}.py": "recipe.py",
        folder(root / "tests", "architectures") / f"test_{name}.py": "test.py",
    }
    if standing := [path for path in files if path.exists()]:
        raise UsageError(f"{standing[0].relative_to(root)} exists; expected a name that is new")
    fields = _fields(name, task, paper, year)
    if ledger.exists():
        known = facts.paper(paper)
        fields |= {"title": known.title, "authors": known.authors, "year": str(known.year), "id": known.id}
    for path, template in files.items():
        write_file(path, render(template, fields))
    before = ledger.read_text("utf-8") if ledger.exists() else render("paper.toml", fields)
    write_file(ledger, before + render("ledger.toml", fields))
    importlib.import_module(f"convatlas.architectures.{task}.{name}")
    write_table(root, name)
    return [*files, ledger]


def folder(base: Path, part: str) -> Path:
    """`base/part` where files are grouped so, else `base`."""
    return base / part if (base / part).is_dir() else base


def render(template: str, fields: dict[str, str]) -> str:
    return Template((TEMPLATES / f"{template}.txt").read_text("utf-8")).substitute(fields)


def write_table(root: Path, name: str) -> Path:
    """Writes a network's layer table into its ledger entry, in place of one that nobody has verified.

    Raises:
        UsageError: no such network.
        ConvatlasError: its paper has no entry for it, or a table that was verified.
    """
    from convatlas import registry
    from convatlas.analysis.layer_table import layer_table
    from convatlas.analysis.trace import trace_network
    from convatlas.analysis.verify import UNVERIFIED

    card: NetworkCard = registry.card(name)
    path = root / f"src/convatlas/facts/papers/{card.paper}.toml"
    head, found, rest = path.read_text("utf-8").partition(f"[networks.{card.name}]\n")
    own, following, after = rest.partition("\n[")
    if not found or f'structure_confidence = "{UNVERIFIED}' not in own:
        place = path.relative_to(root)
        raise ConvatlasError(f"{place} has no entry for {card.name} that is unverified; its table stays as it is")
    rows = "".join(f"  {row},\n" for row in layer_table(trace_network(card)).splitlines())
    own = TABLE.sub("", own if own.endswith("\n") else f"{own}\n") + f"layers = [\n{rows}]\n"
    write_file(path, head + found + own + following + after)
    return path


def _fields(name: str, task: str, paper: str, year: str) -> dict[str, str]:
    (channels, height, width), num_classes, unit, outputs = DEFAULTS[task]
    author = re.split(r"\d", paper)[0].strip("_").capitalize()
    cls = "".join(part.upper() if len(part) < 3 else part.capitalize() for part in name.split("_"))
    numbers = {"channels": channels, "height": height, "width": width, "num_classes": num_classes}
    return {
        "name": name, "task": task, "paper": paper, "year": year, "cls": cls, "unit": unit, "outputs": outputs,
        "title": f"Title of {paper}", "authors": f"{author} et al.", "id": "arXiv:0000.00000",
        **{key: str(value) for key, value in numbers.items()},
    }  # fmt: skip
