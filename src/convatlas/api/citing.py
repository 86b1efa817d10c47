"""`convatlas.cite`."""

import os
from dataclasses import dataclass
from pathlib import Path

import convatlas
from convatlas.api.arguments import suggest_arguments
from convatlas.errors import UsageError
from convatlas.inference.trained import TrainedNetwork
from convatlas.report.citation import cite_network, cite_run


@dataclass(frozen=True)
class Citation:
    """BibTeX entries and, of a run, a methods paragraph that cites them; as text, one above the other."""

    bibtex: str
    methods: str | None = None

    def __str__(self) -> str:
        return "\n\n".join(part for part in (self.methods, self.bibtex) if part)


@suggest_arguments
def cite(source: TrainedNetwork | str | os.PathLike[str]) -> Citation:
    """How to cite a network, or a run with all that it does otherwise than the paper.

    Args:
        source: a network's name or alias, a run folder, or what `load` or `train` gave.

    Raises:
        UsageError: neither a name nor a run folder.

    >>> import convatlas
    >>> print(convatlas.cite("lenet5").bibtex.splitlines()[0])
    @article{lecun1998,
    """
    if isinstance(source, TrainedNetwork):
        source = source.run or source.name
    path = Path(source).expanduser()
    if path.is_dir():
        methods, entries = cite_run(path, convatlas.__version__)
        return Citation(entries, methods)
    if len(path.parts) > 1:
        raise UsageError(f"{source} does not exist; expected a run folder, or the name of a network (`convatlas list`)")
    return Citation(cite_network(os.fspath(source)))
