"""What could not be read shows in every view of the predictions: text, notebook and table."""

from pathlib import Path

import pytest

import convatlas
from convatlas.api.predictions import Predictions
from convatlas.records import Prediction, Problem


@pytest.fixture
def predictions() -> Predictions[Prediction]:
    seen = tuple(Prediction(f"{i}.png", ("cat",), (0.9,)) for i in range(70))
    return Predictions(seen, (Problem("gone<1>.png", "there is no such file"),), ("cat", "dog"))


def test_every_view_names_the_missing_file(predictions):
    pandas = pytest.importorskip("pandas")
    assert "not read: gone<1>.png: there is no such file" in repr(predictions)
    assert "not read: gone&lt;1&gt;.png: there is no such file" in predictions._repr_html_()
    frame = predictions.to_dataframe()
    assert frame.iloc[-1][["image", "problem"]].tolist() == ["gone<1>.png", "there is no such file"]
    assert pandas.isna(frame.iloc[-1]["probability"])
    assert frame["problem"].notna().sum() == 1


def test_without_problems_there_is_no_such_column(predictions):
    whole = Predictions(predictions.items, (), predictions.classes)
    assert "problem" not in whole.rows()[0]
    assert "not read" not in repr(whole) + whole._repr_html_()


def test_a_file_that_is_missing_is_a_row(run_folder: Path):
    found = convatlas.load(run_folder).predict("nowhere.png", progress=False)
    assert len(found) == 0
    assert "nowhere.png" in repr(found)
    assert "nowhere.png" in found._repr_html_()
    assert found.rows()[0]["image"] == "nowhere.png"
