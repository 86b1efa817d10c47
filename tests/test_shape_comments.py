"""The shapes beside the layers in the network files, `# 96 x 55 x 55`, against what the layers give.

A comment belongs to the child of that name (`name=...` or `self.name = ...`) of the first network registered in the
file whose class holds the line. Files whose networks take all of their layers from an ancestor have no comments.
"""

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convatlas import architectures
from convatlas.analysis.trace import build_on_meta, registry
from convatlas.records import NetworkCard

FILES = sorted(Path(architectures.__path__[0]).glob("*/[!_]*.py"))
FROM_BUILDERS = {  # their layers come from a builder that several networks share
    "detection/fast_rcnn", "detection/mask_rcnn", "detection/spp",
    "segmentation/deconvnet", "segmentation/decouplednet",
}  # fmt: skip
LINE = re.compile(r"^\s*(?:self\.)?(?P<name>\w+) ?= ?.*# (?P<shape>\d+(?: x \d+)*)(?: .*)?$")


def commented_shapes(path: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    """For each class of a file, the shapes beside its children."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and node.end_lineno is not None:
            for line in lines[node.lineno - 1 : node.end_lineno]:
                if match := LINE.match(line):
                    shape = tuple(int(number) for number in match["shape"].split(" x "))
                    found.setdefault(node.name, {})[match["name"]] = shape
    return found


def first_networks(path: Path) -> dict[str, NetworkCard]:
    """For each class of a file, the first network registered in it that is one."""
    cards = [registry.card(name) for name in registry.names()]
    own = [card for card in cards if Path(card.builder.__code__.co_filename) == path]
    first: dict[str, NetworkCard] = {}
    for card in sorted(own, key=lambda card: card.builder.__code__.co_firstlineno):
        with torch.device("meta"):
            first.setdefault(type(card.builder(num_classes=card.num_classes, in_channels=1)).__name__, card)
    return first


def real_shapes(card: NetworkCard) -> dict[str, tuple[int, ...]]:
    shapes = {}
    with torch.device("meta"):
        net = registry.build(card.name)

        def note(name: str) -> None:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple) -> None:
                first = output[0] if isinstance(output, tuple | list) else output  # a stage may hand on more than a map
                shapes[name] = tuple(first.shape[1:])

            net.get_submodule(name).register_forward_hook(hook)

        for name, _ in net.named_children():
            note(name)
        net(torch.empty(2, *card.input_shape))
    return shapes


def key(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def has_ancestor(card: NetworkCard) -> bool:
    """Whether the network's class is, or builds on, one of another file."""
    chain = [cls for cls in type(build_on_meta(card.name)).__mro__ if cls.__module__.startswith(architectures.__name__)]
    return any(cls.__module__ != card.builder.__module__ for cls in chain)


@pytest.mark.parametrize("path", FILES, ids=map(key, FILES))
def test_shape_comments_are_true(path: Path) -> None:
    comments, networks = commented_shapes(path), first_networks(path)
    if not comments:
        assert key(path) in FROM_BUILDERS or all(map(has_ancestor, networks.values())), f"{path.name} gives no shapes"
    assert comments.keys() <= networks.keys(), "shapes beside the layers of a class that is no registered network"
    for class_name, shapes in comments.items():
        real = real_shapes(networks[class_name])
        assert shapes == {name: real.get(name) for name in shapes}, class_name
