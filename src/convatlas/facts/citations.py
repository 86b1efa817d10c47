"""Papers of the ledger as BibTeX."""

import functools
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from importlib import resources

from convatlas.facts.loader import paper
from convatlas.facts.schema import LedgerError

_TEX = {"ş": r"{\c{s}}", "ö": r"{\"o}", "ü": r"{\"u}", "é": r"{\'e}", "á": r"{\'a}", "ç": r"{\c{c}}", "ë": r"{\"e}"}
_ACRONYM = re.compile(r"(?<![\w{.])([A-Za-z0-9]*[A-Z0-9][A-Za-z0-9]*[A-Z][A-Za-z0-9]*)(?![\w}])")


def bibtex(key: str) -> str:
    """The BibTeX entry of a paper, in ASCII; capitals that a style would lower are braced.

    Args:
        key: the stem of the ledger's file.

    Raises:
        KeyError: no such paper in the ledger.
        LedgerError: facts/citations.toml has no entry for it.
    """
    found = paper(key)
    if key not in _entries():
        raise LedgerError(f"facts/citations.toml has no entry {key!r}; add author, year and where it was published")
    fields = dict(_entries()[key])
    kind = fields.pop("type")
    fields = {"title": found.title} | fields
    fields["title"] = _ACRONYM.sub(r"{\1}", fields["title"])
    scheme, _, number = found.id.partition(":")
    if scheme.lower() == "doi":
        fields["doi"] = number
    elif scheme.lower() == "arxiv":
        fields |= {"eprint": number, "archiveprefix": "arXiv"}
    elif scheme in ("http", "https"):
        fields["url"] = found.id
    first = ("author", "title")
    ordered = {name: fields[name] for name in (*first, *(name for name in fields if name not in first))}
    width = max(map(len, ordered))
    lines = (f"  {name:<{width}} = {{{_in_ascii(value)}}}," for name, value in ordered.items())
    return "\n".join((f"@{kind}{{{citation_key(key)},", *lines, "}"))


def citation_key(key: str) -> str:
    """What a text cites the paper by: "lecun1998", "he2015resnet"."""
    return key.replace("_", "")


@functools.cache
def _entries() -> Mapping[str, Mapping[str, str]]:
    text = (resources.files("convatlas.facts") / "citations.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _in_ascii(text: str) -> str:
    """With TeX's accents, so that every BibTeX reads it."""
    written = "".join(_TEX.get(letter, letter) for letter in text)
    return unicodedata.normalize("NFKD", written).encode("ascii", "ignore").decode()
