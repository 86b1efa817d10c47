"""Citations: BibTeX for every network, and of a run the methods with every departure from the paper."""

import json
import re
from pathlib import Path

import pytest

import convatlas
from convatlas import cli, facts, registry
from convatlas.errors import ConvatlasError, UsageError

ENTRY = re.compile(r"@(article|inproceedings|misc)\{(\w+),\n(?:  \w+ += \{.*\},\n)+\}")


@pytest.mark.parametrize("key", [paper.key for paper in facts.papers()])
def test_every_paper_has_a_whole_entry(key: str) -> None:
    text, paper = facts.bibtex(key), facts.paper(key)
    match = ENTRY.fullmatch(text)
    assert match is not None, text
    assert text.isascii()
    assert text.count("{") == text.count("}")
    fields = dict(re.findall(r"^  (\w+) += \{(.*)\},$", text, re.MULTILINE))
    assert {"author", "title", "year"} <= set(fields)
    assert match[1] == "misc" or {"journal", "booktitle"} & set(fields)
    assert abs(int(fields["year"]) - paper.year) <= 2  # a preprint comes before its conference
    written = re.sub(r"\{\\.\{?(\w)\}?\}|\\.", r"\1", fields["author"])
    names = [name.split(",")[0] for name in written.split(" and ")]
    known = [name.split()[-1] for name in paper.authors.split(", ")]
    assert [name.split()[-1][:3].lower() for name in names] == [name[:3].lower() for name in known]


def test_every_network_can_be_cited() -> None:
    for name in registry.names():
        assert convatlas.cite(name).bibtex.startswith("@")
    with pytest.raises(UsageError, match="did you mean"):
        convatlas.cite("lennet5")


def test_a_run_names_every_departure(run_folder: Path) -> None:
    citation = convatlas.cite(run_folder)
    assert citation.methods is not None
    said = citation.methods
    assert said.startswith("We trained caffe_lenet \\cite{caffelenet} on 1,438 images of digits with 10 classes, for")
    assert "batches of 64, by the test recipe (a test)" in said
    for departure in (
        "- made <for> a test",
        "- The recipe is test, not the published one",
        "- epochs: 2 instead of 11.",
        "- schedule: Constant() instead of Inverse(gamma=0.0001, power=0.75",
        "- optimizer.weight decay: 0.0 instead of 0.0005.",
        "- groups: none instead of ParameterGroup(",
        "- The data are digits; the published result is for MNIST test.",
    ):
        assert departure in said, (departure, said)
    assert "@inproceedings{caffelenet," in citation.bibtex
    assert "@software{convatlas," in citation.bibtex
    assert convatlas.cite(convatlas.load(run_folder)) == citation


def test_the_published_recipe_to_the_letter_departs_in_its_data_alone(tmp_path: Path) -> None:
    run = convatlas.train(
        "lenet5", recipe="published", epochs=20, out=tmp_path / "run", progress=False, workers=0, write_report=False
    )  # fmt: skip
    said = convatlas.cite(run).methods
    assert said is not None
    departures = [line for line in said.splitlines() if line.startswith("- ")]
    assert all("instead of" not in line for line in departures), departures
    assert "- The data are digits; the published result is for MNIST test." in departures


def test_the_command(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cite", "lenet5"]) == 0
    assert capsys.readouterr().out.startswith("@article{lecun1998,\n")
    assert cli.main(["cite", str(run_folder), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"methods", "bibtex"}
    assert cli.main(["cite", "no/where"]) == 2
    assert cli.main(["cite", "lennet5"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_an_entry_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from convatlas.facts import citations

    monkeypatch.setattr(citations, "_entries", dict)
    with pytest.raises(facts.LedgerError, match="has no entry 'lecun1998'"):
        facts.bibtex("lecun1998")
    assert issubclass(ConvatlasError, Exception)
