"""Drawings of networks: no overlapping boxes, every edge once, readable, and the same each time."""

import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import pytest

from convatlas import registry
from convatlas.analysis.trace import trace_network
from convatlas.cli import main
from convatlas.visualise.drawing import draw_network, drawing_of
from convatlas.visualise.drawing.draw import FORMS, READABLE
from convatlas.visualise.drawing.graph import build
from convatlas.visualise.drawing.layout import Place, Sheet, sheet
from convatlas.visualise.drawing.u_shape import u_sheet

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = (
    "lenet5", "alexnet", "googlenet", "resnet34", "densenet121", "unet", "ssd300", "stacked_hourglass_1",
    "inception_v4", "fractalnet20_cifar10", "squeezenet_v1_0_complex_bypass", "segnet_basic", "fcn8s_vgg16_voc",
    "xception", "highway19_cifar10", "yolov1", "mask_rcnn_resnet50_fpn", "a2net50_reading",
)  # fmt: skip


def place(name: str) -> Sheet:
    records = trace_network(name)
    drawing = drawing_of(records)
    return (
        u_sheet(drawing, records) if FORMS.get(name) == "u" else sheet(drawing, horizontal=FORMS.get(name) == "strip")
    )


def overlap(a: Place, b: Place) -> bool:
    beside = abs(a.x - b.x) >= (a.width + b.width) / 2 - 1e-6
    below = a.y + a.height <= b.y + 1e-6 or b.y + b.height <= a.y + 1e-6
    return not beside and not below


@pytest.mark.parametrize("name", DRAWN)
def test_boxes_do_not_overlap_and_every_edge_is_drawn_once(name: str) -> None:
    records = trace_network(name)
    drawing = drawing_of(records)
    placed = place(name)
    assert placed.places.keys() == drawing.boxes.keys()
    assert placed.paths.keys() == set(drawing.edges.edges)
    assert not [(a, b) for (a, p), (b, q) in combinations(placed.places.items(), 2) if overlap(p, q)]
    for box in placed.places.values():
        assert box.x - box.width / 2 + 1e-6 >= 0
        assert box.x + box.width / 2 <= placed.width + 1e-6
        assert box.y + box.height <= placed.height + 1e-6


@pytest.mark.parametrize("name", DRAWN)
def test_documents(name: str) -> None:
    records = trace_network(name)
    text = draw_network(name, records)
    assert text == draw_network(name, records)
    root = ET.fromstring(text)
    boxes = [group.get("id") for group in root.iter(f"{SVG}g") if group.get("class") == "box"]
    assert len(boxes) == len(set(boxes)) == len(drawing_of(records).boxes)
    assert len(text) < 100_000
    assert root.find(f"{SVG}title") is not None


def test_the_trunk_is_straight() -> None:
    """The boxes through which every path goes stand on one line."""
    drawing = build(trace_network("googlenet"), 1)
    placed = sheet(drawing)
    middle = placed.places["conv1"].x
    assert all(placed.places[key].x == pytest.approx(middle) for key in drawing.boxes)


def test_shortcuts_go_around() -> None:
    """Each of ResNet-34's 13 identity shortcuts is a lane beside its block; the three projections are boxes."""
    drawing = drawing_of(trace_network("resnet34"))
    assert sum(box.kind == "add" for box in drawing.boxes.values()) == 16
    bends = [path for path in sheet(drawing).paths.values() if len(path) == 6]
    assert len(bends) == 13


def test_repeated_modules_are_counted() -> None:
    drawing = build(trace_network("resnet152"), 2)
    assert sorted(box.count for box in drawing.boxes.values() if box.count > 1) == [2, 2, 7, 35]


def test_a_fold_that_would_close_a_cycle_is_dissolved() -> None:
    """All stacks of the hourglass lie in one module, with the joins outside."""
    import networkx as nx

    assert nx.is_directed_acyclic_graph(build(trace_network("stacked_hourglass_2"), 1).edges)


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names())
def test_every_network_is_drawn(name: str) -> None:
    records = trace_network(name)
    ET.fromstring(draw_network(name, records))
    if name != "decouplednet_voc":  # its names have no modules to fold
        assert len(drawing_of(records).boxes) <= READABLE


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "net.svg"
    assert main(["show", "lenet5", "--draw", str(path)]) == 0
    assert path.read_text().startswith("<svg")
    assert main(["show", "lenet5", "--draw", str(tmp_path / "x.png")]) == 2
    assert main(["show", "lenet5", "--fold", "1"]) == 2
    capsys.readouterr()
    assert main(["show", "vgg_d"]) == 0
    assert "fc: 123.6 M parameters (89.4%)" in capsys.readouterr().out
