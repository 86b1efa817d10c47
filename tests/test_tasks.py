"""Each layer has one table of what differs between the tasks, with the registry's tasks as its keys."""

import importlib
import re
from pathlib import Path
from typing import get_args

import pytest

import convatlas
from convatlas import registry
from convatlas.records import Task

TABLES = ("data", "training.tasks", "inference", "report.tasks", "cli.tasks")
PACKAGE = Path(convatlas.__file__).parent


@pytest.mark.parametrize("layer", TABLES)
def test_a_layers_table_has_the_registrys_tasks(layer: str) -> None:
    table = importlib.import_module(f"convatlas.{layer}").TASKS
    assert set(table) == set(get_args(Task)) == {registry.card(name).task for name in registry.names()}


@pytest.mark.parametrize("layer", ["data", "training", "evaluation", "report"])
def test_no_other_place_of_a_layer_asks_which_task_it_is(layer: str) -> None:
    asks = re.compile(r"""\btask (==|!=|in|not in) [("']""")
    found = [str(file) for file in sorted((PACKAGE / layer).rglob("*.py")) if asks.search(file.read_text())]
    assert [file for file in found if not file.endswith("finetuning.py")] == []
