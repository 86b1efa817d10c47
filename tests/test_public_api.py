"""The public names: a tested list, documented with examples that run here, typed, lazy, and friendly to slips."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

import convatlas
from convatlas import inference, registry
from convatlas.api.rows import Rows, cell_text, html_table
from convatlas.errors import UsageError
from convatlas.records import Task

PUBLIC = {
    "ConvatlasError", "LoadedNetwork", "Predictions", "TrainedNetwork", "TrainedRun", "UsageError", "__version__",
    "ask", "card", "cite", "compare", "create", "diff", "evaluate", "explain", "export", "features", "find_facts",
    "load", "names", "recipe", "show", "to_fully_convolutional", "train", "verify", "why",
}  # fmt: skip
EXAMPLES = (
    "LoadedNetwork", "ask", "cite", "compare", "create", "diff", "evaluate", "explain", "export", "features",
    "find_facts", "load", "recipe", "show", "train", "verify",
)  # fmt: skip


@pytest.fixture(scope="module")
def lenet_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch of LeNet-5 on a few digits, made by `train`."""
    out = tmp_path_factory.mktemp("python") / "run"
    recipe = {"small_data_epochs": 1}
    run = convatlas.train(
        "lenet5", data="digits", epochs=1, out=out, progress=False, write_report=False, settings=recipe, workers=0
    )
    assert (run.run, run.name, run.task) == (out, "lenet5", "classification")
    return out


def test_the_list_of_public_names() -> None:
    assert set(convatlas.__all__) == PUBLIC
    assert convatlas.__all__ == sorted(convatlas.__all__)
    assert set(dir(convatlas)) == PUBLIC
    for name in PUBLIC:
        assert getattr(convatlas, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'predictt'"):
        convatlas.predictt  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_loads_nothing_heavy() -> None:
    heavy = "torch", "numpy", "matplotlib", "PIL", "typer", "rich"
    code = f"import sys, convatlas; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str, lenet_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    thing = getattr(convatlas, name)
    examples = doctest.DocTestFinder(recurse=False).find(inspect.unwrap(thing), name)
    names = {"RUN": str(lenet_run), "OUT": str(tmp_path / "out")}
    assert sum(len(example.examples) for example in examples) > 0
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in examples:
        example.globs.update(names)
        said: list[str] = []
        assert runner.run(example, out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_name_is_documented(name: str) -> None:
    assert len(inspect.getdoc(getattr(convatlas, name)) or "") > 20


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: convatlas.create("lenet5", num_class=10), "num_class is not an argument of create; did you mean"),  # pyright: ignore
        (lambda: convatlas.create("lenet5", channels=3), "channels is not .* did you mean in_channels"),  # pyright: ignore
        (lambda: convatlas.train("lenet5", epoch=1), "epoch is not an argument of train; did you mean epochs"),  # pyright: ignore
        (lambda: convatlas.create("lennet5"), "unknown network 'lennet5'; did you mean lenet5"),
        (lambda: convatlas.create("lenet5", num_classes=0), "num_classes is 0; expected at least 1"),
        (lambda: convatlas.load("nowhere/run"), "nowhere/run does not exist"),
        (lambda: convatlas.load("lenet5"), "expected weights=FILE, or a run folder"),
        (convatlas.compare, "networks is empty"),
        (lambda: convatlas.cite("nowhere/run"), "does not exist"),
        (lambda: convatlas.recipe("lenet5", "publisht"), "'publisht' is unknown for lenet5"),
    ],
)  # fmt: skip
def test_slips_are_answered(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(UsageError, match=words.replace("(", r"\(")) as caught:
        call()
    assert "--" not in str(caught.value)


def test_a_misspelt_argument_is_a_type_error_too() -> None:
    with pytest.raises(TypeError, match="num_classes"):
        convatlas.create("lenet5", num_class=10)  # pyright: ignore


def test_every_task_has_its_verbs() -> None:
    tasks = {registry.card(name).task for name in registry.names()}
    assert set(inference.TASKS) == tasks == set(Task.__args__)
    for verbs in inference.TASKS.values():
        assert callable(getattr(convatlas.LoadedNetwork, verbs.verb))


def test_training_from_a_recipe_field_and_again(lenet_run: Path, tmp_path: Path) -> None:
    run = convatlas.train(
        "caffe_lenet", epochs=2, batch_size=128, lr=0.02, seed=3, out=tmp_path / "run", progress=False, workers=0,
        settings={"optimizer.momentum": 0.8},
    )  # fmt: skip
    assert run.recipe is not None
    assert (run.recipe.batch_size, run.recipe.seed, len(run.metrics())) == (128, 3, 2)
    assert run.recipe.optimizer == type(run.recipe.optimizer)(lr=0.02, momentum=0.8, weight_decay=5e-4)
    page = run.report()
    assert page.path == tmp_path / "run" / "report.html"
    assert "srcdoc" in page._repr_html_()
    assert "caffe_lenet" in str(run)
    assert "<table>" in run._repr_html_()
    with pytest.raises(UsageError, match="exists already"):
        convatlas.train("caffe_lenet", epochs=1, out=tmp_path / "run", progress=False)


def test_two_runs_in_one_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convatlas.api import training

    monkeypatch.chdir(tmp_path)
    first = training._new_folder("lenet5", "digits")
    first.mkdir(parents=True)
    assert training._new_folder("lenet5", "digits") != first


def test_features_only_backbones_tell_channels_and_strides() -> None:
    backbone = convatlas.create("resnet18", features_only=True)
    info = backbone.feature_info
    assert info.module_name() == ("relu1", "conv2_x", "conv3_x", "conv4_x", "conv5_x")
    assert info.channels() == (64, 64, 128, 256, 512)
    assert info.reduction() == (2, 4, 8, 16, 32)
    chosen = convatlas.features(convatlas.create("vgg_d"), ["relu4_3", "pool5"])
    assert (chosen.feature_info.channels(), chosen.feature_info.reduction()) == ((512, 512), (8, 32))
    with pytest.raises(UsageError, match="expected input_shape"):
        convatlas.features(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(UsageError, match="has no feature maps"):
        convatlas.features(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), input_shape=(3, 2, 2))


@pytest.mark.parametrize("name", ["inception_v3", "densenet121", "unet", "alexnet", "cifar_resnet20", "googlenet"])
def test_backbones_of_other_families(name: str) -> None:
    import torch

    backbone = convatlas.create(name, features_only=True).eval()
    info = backbone.feature_info
    assert list(info.reduction()) == sorted(set(info.reduction()))
    with torch.no_grad():
        maps = backbone(torch.zeros(1, *registry.card(name).input_shape))
    assert [value.shape[1] for value in maps.values()] == list(info.channels())


def test_tables_for_people_and_programs() -> None:
    pandas = pytest.importorskip("pandas")
    table = convatlas.show("lenet5")
    frame = table.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["parameters"].sum() == table.cost.parameters == 60_000
    assert "<th>layer</th>" in table._repr_html_()
    difference = convatlas.diff("alexnet", "alexnet_owt")
    assert {"quantity", "old", "new"} <= set(difference.to_dataframe().columns)
    assert convatlas.verify("lenet5").to_dataframe()["verdict"].isin(["holds", "disputed"]).all()
    assert table[0:2] == table.items[0:2]
    assert isinstance(table, Rows)
    assert repr(table).startswith("LayerTable (")


def test_text_of_files_is_escaped_and_nothing_says_nan() -> None:
    shown = html_table([{"<b>": "<script>", "x": float("nan")}])
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert [cell_text(value) for value in (None, float("nan"), 1234, True, 0.123456)] == [
        "",
        "",
        "1,234",
        "True",
        "0.1235",
    ]


def test_comparison_pages_and_explanations(lenet_run: Path, tmp_path: Path) -> None:
    import numpy as np

    page = convatlas.compare("lenet5", batches=[1], seconds=0.1, progress=False).save(tmp_path / "page.html")
    assert page.path.stat().st_size > 1000
    image = np.full((28, 28), 200, dtype=np.uint8)
    shown = convatlas.explain(
        lenet_run, image, methods=["saliency", "filters"], target=3, out=tmp_path / "x", progress=False
    )
    assert [panel.method for panel in shown.panels] == ["filters", "saliency"]
    assert (tmp_path / "x" / "images" / "image_000.png").is_file()
    for options, words in (({"methods": ["magic"]}, "magic"), ({"target": "eleven"}, "eleven"), ({"target": 10}, "10")):
        with pytest.raises(UsageError, match=words):
            convatlas.explain(lenet_run, image, out=tmp_path / "y", progress=False, **options)  # pyright: ignore
    with pytest.raises(UsageError, match="layer"):
        convatlas.explain(lenet_run, image, methods=["gradcam"], layer="nope", out=tmp_path / "z", progress=False)


def test_evaluation_and_its_protocols(lenet_run: Path) -> None:
    net = convatlas.load(lenet_run)
    assert len(convatlas.evaluate(net, progress=False).problems) == 0
    with pytest.raises(UsageError, match="protocol 'voc07' is unknown"):
        convatlas.evaluate(net, protocol="voc07", progress=False)


def test_flags_stand_in_for_arguments_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    from convatlas import cli
    from convatlas.cli.flags import flags_of, name_flags

    assert cli.main(["predict", "lenet5", "x.png"]) == 2
    assert "expected --weights FILE, or a run folder" in capsys.readouterr().err
    flags = flags_of(["train", "lenet5"])
    assert flags["batch_size"] == "--batch-size"
    assert name_flags("batch_size is 0; expected at least 1", flags) == "--batch-size is 0; expected at least 1"
    assert name_flags("pass overwrite=True to replace it", flags) == "pass --overwrite to replace it"
    assert name_flags("the batch_size is 0", flags) == "the --batch-size is 0"
    assert flags_of(["no such command"]) == {}
    assert flags_of(["weights", "import"])["out"] == "--out"


LOSS_WORDS = {
    "CrossEntropy": "cross-entropy",
    "SquaredError": "squared error",
    "MaximumAPosteriori": "maximum a posteriori",
    "PixelCrossEntropy": "cross-entropy of the pixels",
    "BorderCrossEntropy": "weighted near borders",
    "HeatmapSquaredError": "squared error of the heat maps",
    "OwnLosses": "losses(images, targets)",
}


def test_every_network_says_what_it_returns_in_training_and_its_loss() -> None:
    for name in registry.names():
        card = registry.card(name)
        network = inspect.signature(card.builder).return_annotation
        _, _, said = (inspect.getdoc(network) or "").partition("Training: ")
        published = convatlas.recipe(name)
        if type(published.optimizer).__name__ == "OwnRule":
            assert "learn(images, labels)" in said, name
            continue
        assert LOSS_WORDS[type(published.loss).__name__] in said, (name, said)
        assert ("AuxiliaryOutputs" in said) == bool(published.auxiliary_weight), name


def test_the_page_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "python.md"
    monkeypatch.chdir(tmp_path)
    for name in set(convatlas.__all__) - {"__version__"}:
        assert f"`{name}" in page.read_text(encoding="utf-8"), name
    said: list[str] = []
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    example = parser.get_doctest(page.read_text(encoding="utf-8"), {}, page.name, str(page), 0)
    assert len(example.examples) > 15
    assert runner.run(example, out=said.append).failed == 0, "".join(said)


def test_a_run_is_explained_on_its_own_data(lenet_run: Path, tmp_path: Path) -> None:
    shown = convatlas.explain(lenet_run, methods=["saliency"], out=tmp_path / "x", progress=False)
    assert {panel.method for panel in shown.panels} == {"saliency"}
    assert len(shown.panels) >= 1


def test_options_of_training_reach_the_recipe(tmp_path: Path) -> None:
    run = convatlas.train(
        "caffe_lenet", epochs=1, out=tmp_path / "run", progress=False, write_report=False, workers=0,
        val_fraction=0.1, fraction=0.5, balance=True, early_stopping=3, batch_size=32,
    )  # fmt: skip
    assert run.recipe is not None
    assert (run.recipe.sampling, run.recipe.data.val_fraction, run.recipe.data.fraction) == ("balanced", 0.1, 0.5)
    assert "val_error" in run.metrics()[0]
