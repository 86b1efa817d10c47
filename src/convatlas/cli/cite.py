"""`convatlas cite`: BibTeX for a network; for a run, also the methods paragraph of a paper."""

import sys
from pathlib import Path
from typing import Annotated

import typer

import convatlas
from convatlas.cli.common import print_json, say
from convatlas.errors import UsageError


def command(
    source: Annotated[str, typer.Argument(metavar="NAME|RUN", help="A network's name, or a run folder.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """BibTeX for a network's paper; for a run, also a methods paragraph that names every departure from the paper."""
    from convatlas.report import citation

    path = Path(source).expanduser()
    methods: str | None = None
    if path.is_dir():
        methods, entries = citation.cite_run(path, convatlas.__version__)
    elif len(path.parts) > 1:
        raise UsageError(f"{source} does not exist; expected a run folder, or the name of a network")
    else:
        entries = citation.cite_network(source)
    if json:
        print_json({"methods": methods, "bibtex": entries})
    else:
        if methods:
            for paragraph in methods.splitlines():
                say(paragraph)
        sys.stdout.write(f"\n{entries}\n" if methods else f"{entries}\n")  # as it is: BibTeX is copied
