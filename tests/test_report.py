"""The report: its numbers by hand, its honesty about the paper, and the page as one file that asks for nothing."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from convatlas import inference, report
from convatlas.errors import ConvatlasError
from convatlas.records import Evaluation, Preprocessing, PublishedResult
from convatlas.report import published, tables
from convatlas.training import Recipe, find
from convatlas.training.recipe import SGD


def evaluation(labels: list[int], probabilities: list[list[float]]) -> Evaluation:
    truth, given = torch.tensor(labels), torch.tensor(probabilities)
    count = given.shape[1]
    confusion = torch.zeros(count, count, dtype=torch.int64)
    for label, predicted in zip(labels, given.argmax(1).tolist(), strict=True):
        confusion[label, predicted] += 1
    error = (given.argmax(1) != truth).double().mean().item()
    return Evaluation(tuple("abcdefgh"[:count]), truth, given, 0.5, error, None, confusion, 0.1)


def test_class_rows_by_hand() -> None:
    found = evaluation([0, 0, 0, 1], [[0.9, 0.1, 0], [0.8, 0.2, 0], [0.3, 0.7, 0], [0.4, 0.6, 0]])
    a, b, c = tables.class_rows(found)
    assert (a.name, a.n, a.recall, a.precision, a.f1) == ("a", 3, pytest.approx(2 / 3), 1.0, pytest.approx(0.8))
    assert (b.n, b.recall, b.precision) == (1, 1.0, 0.5)
    assert (c.n, c.recall, c.precision, c.f1) == (0, None, None, None)


def test_mistakes_stand_in_order_of_confidence() -> None:
    found = evaluation([0, 1, 1, 0], [[0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.0, 1.0]])
    mistakes = tables.confident_mistakes(found)
    assert [mistake.index for mistake in mistakes] == [3, 1, 0]
    assert (mistakes[1].true, mistakes[1].predicted) == ("b", "a")
    assert mistakes[1].probability == pytest.approx(0.9)
    assert len(tables.confident_mistakes(found, limit=2)) == 2


def test_the_example_is_right_and_of_median_confidence() -> None:
    found = evaluation([0, 0, 0, 1], [[0.6, 0.4], [0.99, 0.01], [0.8, 0.2], [0.9, 0.1]])
    assert tables.typical_example(found) == 2
    assert tables.typical_example(evaluation([1], [[0.9, 0.1]])) == 0


def test_flatten() -> None:
    rows = tables.flatten({"a": 1, "b": {"c": 0.1, "d": True}, "e": [{"kind": "x"}], "f": [], "g": None})
    assert rows == [("a", "1"), ("b.c", "0.1"), ("b.d", "yes"), ("e.1.kind", "x"), ("f", "none")]


def test_words_for_numbers() -> None:
    assert tables.percent(0.0095) == "0.95%"
    assert tables.percent(None) == "-"
    assert tables.probability(0.9999) == ">99.9%"
    assert [tables.duration(s) for s in (1.25, 59.6, 140, 7260)] == ["1.2 s", "60 s", "2 min 20 s", "2 h 1 min"]


MNIST = PublishedResult("MNIST test", "20 passes", "0.95")
TEN, ONE = (
    PublishedResult("ILSVRC-2012 validation", "10 crops", "22.85", "6.71"),
    PublishedResult("ILSVRC-2012 validation", "one crop", "24.7", "7.8"),
)


def test_a_run_is_laid_beside_the_result_of_its_own_protocol() -> None:
    assert published.nearest((TEN, ONE), "ilsvrc-2012", "one crop") is ONE
    assert published.nearest((TEN, ONE), "ilsvrc-2012", "10 crops at 256 px") is TEN
    assert published.nearest((TEN, ONE, MNIST), "mnist", "10 crops") is MNIST
    assert published.nearest((TEN, ONE), "digits", "one crop") is ONE
    assert published.nearest((PublishedResult("x", "one crop", None, "10.07"),), "x", "one crop") is None
    assert not published.same_protocol(TEN, "5 networks, 10 crops")


def test_the_ledger_says_how_sure_it_is() -> None:
    rows = [
        SimpleNamespace(value="18.75; 20 8.750", confidence="survey"),
        SimpleNamespace(value="20 8.75; 32 7.51", confidence="recalled"),
    ]
    assert published.confidence(PublishedResult("CIFAR-10 test", "", "8.75"), rows) == "recalled"
    assert published.confidence(PublishedResult("CIFAR-10 test", "", "8.7"), rows) == ""


def test_weights_and_modern_runs_stand_beside_the_published_recipe() -> None:
    assert published.published_results("cifar_resnet20")[0].top1_error == "8.75"
    modern = find("cifar_resnet20", "modern", preprocessing=Preprocessing((32, 32)))
    assert published.published_results("cifar_resnet20", modern)[0].top1_error == "8.75"
    distorted = find("lenet5", "published-distortions", preprocessing=Preprocessing((32, 32)))
    assert published.published_results("lenet5", distorted)[0].top1_error == "0.8"


def compare(result: PublishedResult | None, recipe: str | Recipe = "published", **changes: Any) -> str:
    if isinstance(recipe, str):
        recipe = find("lenet5", recipe, preprocessing=Preprocessing((32, 32)))
    setting = {"dataset": "mnist", "protocol": "one crop", "train_images": 60000, "epochs": 20}
    return published.compare(result, recipe, **(setting | {"interval": (0.008, 0.012)} | changes))


def test_the_comparison_is_honest() -> None:
    assert "different questions" in compare(MNIST, dataset="digits")
    assert "published recipe makes 20 epochs, this run 1." in compare(MNIST, epochs=1)
    assert "by another recipe" in compare(MNIST, "modern")
    other = replace(
        find("lenet5", "published", preprocessing=Preprocessing((32, 32))), batch_size=7, optimizer=SGD(0.1)
    )
    assert "this run changed the published optimizer and batch_size" in compare(MNIST, other)
    assert "tested by one view, this run by 10 crops at 36 px" in compare(MNIST, protocol="10 crops at 36 px")
    assert "lies inside" in compare(MNIST)
    assert "lies above" in compare(MNIST, interval=(0.012, 0.02))
    assert "lies below" in compare(MNIST, interval=(0.001, 0.002))
    assert "No printed test error" in compare(None)


class Page(HTMLParser):
    """Collects what a browser would fetch, and the anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.images = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.ids.add(values.get("id", ""))
        self.images += tag == "img"
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag in ("script", "link", "iframe"):
            self.fetched.append(tag)
        self.fetched += [v for k, v in values.items() if k in ("src", "srcset", "xlink:href") and v[:1] != "#"]


@pytest.fixture(scope="module")
def page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    run = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(run_folder, run)
    dataset, found = inference.evaluate_source(inference.open_source(str(run)))
    path = report.write(run, found, dataset.test)
    assert path == run / "report.html"
    assert not list(run.glob(".*.report.html"))
    return path.read_text(encoding="utf-8")


def test_the_page_asks_for_nothing(page: str) -> None:
    parsed = Page(page)
    assert [address for address in parsed.fetched if not address.startswith("data:image/")] == []
    assert re.findall(r"url\((?!#|[\"']?#)", page) == []
    assert "@import" not in page
    assert parsed.images == 24


def test_every_section_is_there_and_reachable(page: str) -> None:
    parsed = Page(page)
    sections = {"training", "classes", "mistakes", "filters", "maps", "verification", "recipe", "environment"}
    assert sections <= parsed.ids
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= parsed.ids


def test_the_page_says_what_was_done(page: str) -> None:
    assert "caffe_lenet" in page
    assert "2 epochs of 1,438 images" in page
    assert "95% interval" in page
    assert "Made &lt;for&gt; a test" in page
    assert "431,080" in page  # parameters, from the live network
    assert "prefers-color-scheme: dark" in page


def test_damaged_files_are_named(run_folder: Path) -> None:
    dataset, found = inference.evaluate_source(inference.open_source(str(run_folder)))
    values = report.page.context(run_folder, found, dataset.test)
    values["problems"] = [("a/<b>.png", "cut off")]
    text = report.page.render(values)
    assert "a/&lt;b&gt;.png" in text.replace("<wbr>", "")  # names may break at their points
    assert "1 file was left out" in text


def test_a_page_that_cannot_be_written(run_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    (run / "report.html").mkdir()  # a folder where the file should be
    dataset, found = inference.evaluate_source(inference.open_source(str(run)))
    with pytest.raises(ConvatlasError, match=r"report\.html can't be written"):
        report.write(run, found, dataset.test)
    assert not list(run.glob(".*.report.html"))
