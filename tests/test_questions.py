"""`convatlas ask`, the questions of the surveys, and the page that is written from them."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import convatlas
from convatlas import facts
from convatlas.cli import COMMANDS, main
from convatlas.facts.questions import Question, find_questions, parse_topic, topics_of_questions

DOCS = Path(__file__).parents[1] / "docs"
QUESTIONS = [question for topic in topics_of_questions() for question in topic.questions]
WITHOUT_TORCH = ("convolve ", "count --example", "count 'conv", "facts ", "lineage ")


def load_writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_questions", DOCS / "write_questions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_quick(question: Question) -> bool:
    return all(line.startswith(WITHOUT_TORCH) for line in question.run)


def check_page(questions: list[Question]) -> None:
    writer, page = load_writer(), (DOCS / "questions.md").read_text(encoding="utf-8")
    for question in questions:
        for paragraph in writer.write_question(question):
            assert paragraph in page, f"python docs/write_questions.py writes another {question.id}"


def test_the_page_shows_what_quick_commands_print_today() -> None:
    quick = [question for question in QUESTIONS if is_quick(question)]
    assert len(quick) > len(QUESTIONS) / 3
    check_page(quick)


@pytest.mark.slow
def test_the_page_shows_what_all_commands_print_today() -> None:
    assert load_writer().page() == (DOCS / "questions.md").read_text(encoding="utf-8")


def test_the_page_lists_every_question_once() -> None:
    page = (DOCS / "questions.md").read_text(encoding="utf-8")
    assert all(page.count(f"\n### {question.ask}\n") == 1 for question in QUESTIONS)
    assert all(page.count(f"  - [{question.ask}](#") == 1 for question in QUESTIONS)


def test_questions_point_to_surveys_and_commands_that_exist() -> None:
    surveys = {survey.key for survey in facts.surveys()}
    places = [place for question in QUESTIONS for place in question.asked]
    assert {place.split(":")[0] for place in places} == surveys
    assert {line.split()[0] for question in QUESTIONS for line in question.run} <= COMMANDS.keys()
    assert sum("exercise" in place for place in places) >= 5  # the homework of the slides
    assert sum("interview" in place for place in places) == 3


@pytest.mark.parametrize(
    ("words", "best"),
    [
        ("why 1x1 convolutions", "why-1x1"),
        ("three 3 x 3 instead of a 7x7", "three-3x3"),
        ("interview: what if I remove the pooling layers?", "without-pooling"),
        ("compare a fully connected layer with a convolutional layer", "convolution-against-fc"),
        ("how can segmentation boundaries be improved", "boundaries"),
        ("DeconvNet vs SegNet", "deconvnet-segnet"),
        ("R-CNN, Fast R-CNN and Faster R-CNN", "rcnn-family"),
        ("receptive field of C2", "c2-field"),
        ("2^n paths", "resnet-paths"),
        ("does batch normalization whiten", "batchnorm"),
        ("is alexnet's input 224", "224-or-227"),
        ("3.46", "resnet-error"),
        ("gap", "gap"),
    ],
)
def test_questions_are_found_by_words(words: str, best: str) -> None:
    assert find_questions(words)[0].id == best


def test_ask_answers_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("ask", "how", "many", "default", "boxes", "has", "SSD")) == 0
    out = capsys.readouterr().out
    assert "8,732" in out
    assert "convatlas verify ssd300" in out
    assert main(("ask",)) == 0
    listed = capsys.readouterr().out
    assert all(question.id in listed for question in QUESTIONS)
    assert main(("ask", "why-1x1", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["questions"][0]["id"] == "why-1x1"
    assert main(("ask", "qwertyuiop")) == 2
    assert "no question has the words" in capsys.readouterr().err


def test_ask_loads_no_torch() -> None:
    script = "import sys; from convatlas.cli import main; main(['ask', 'bottleneck']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def test_ask_and_find_facts_in_python() -> None:
    assert convatlas.ask("bottleneck")[0].id == "bottleneck"
    table = convatlas.find_facts("ResNet-50")
    assert {fact.kind for fact in table} >= {"claim", "result", "survey"}
    frame = table.to_dataframe()
    assert list(frame.columns) == ["kind", "about", "statement", "value", "confidence", "where", "note"]
    assert "<table>" in table._repr_html_()
    wrong = convatlas.find_facts("resnet", surveys=True, disputed=True)
    assert {fact.confidence for fact in wrong} == {"false", "imprecise"}
    with pytest.raises(convatlas.UsageError, match="nothing is known"):
        convatlas.find_facts("nobody_knows_this")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('title = "t"\n[[questions]]\nid = "a"\n', "'ask' is missing"),
        ("title = ", "Invalid value"),
        (
            'title = "t"\n[[questions]]\nid = "a"\nask = "q"\nasked = []\nrun = ["x"]\nanswer = "b"\nkeep = ["", ""]\n',
            "2 keep for 1 run",
        ),
    ],
)
def test_a_broken_chapter_is_an_error(text: str, message: str) -> None:
    with pytest.raises(facts.LedgerError, match=message):
        parse_topic("1_x.toml", text)


def test_show_ends_with_what_the_paper_states(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("show", "lenet5")) == 0
    assert "What the paper states" in capsys.readouterr().out
    assert main(("show", "lenet5", "--no-facts")) == 0
    assert "What the paper states" not in capsys.readouterr().out
    assert main(("show", "lenet5", "--format", "json")) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"claim", "survey"} <= {fact["kind"] for fact in document["facts"]}


def test_a_report_says_what_the_paper_states() -> None:
    from convatlas.report.frame import stated_facts

    parts = dict(stated_facts("lenet5"))
    assert {fact.confidence for fact in parts["What surveys get wrong"]} == {"false"}
    assert parts["Published results"]
    assert stated_facts("nobody_knows_this") == []
