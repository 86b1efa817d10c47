"""What every registered network keeps, whatever its paper."""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from convatlas import facts, registry
from convatlas.network import Network
from convatlas.records import AuxiliaryOutputs

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.Tanh, nn.Sigmoid)

NAMES = registry.names()


@functools.cache
def _on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return registry.build(name)


def _is_cheap(name: str) -> bool:
    """Whether a few real passes fit into the fast tests, by what the ledger says of its size."""
    known = facts.network(name)
    if known is None or known.totals is None:
        return registry.card(name).task == "classification"
    return known.totals.parameters <= 30e6 and (known.totals.multiply_adds or 0) <= 1.2e9


def _marked(names: list[str], cheap: Callable[[str], bool]) -> list[Any]:
    return [pytest.param(name, marks=() if cheap(name) else pytest.mark.slow) for name in names]


EVERY = _marked(NAMES, _is_cheap)
EVERY_ON_META = _marked(NAMES, lambda name: not re.search("1001|1202", name))


def _draws_randomly(net: nn.Module) -> bool:
    """Whether whole parts are left out at random: those get no statistics and no gradient."""
    return isinstance(net, Network) and net.card is not None and net.card.traits.draws_randomly


def _tensors(outputs: object) -> list[torch.Tensor]:
    """What a network returns, whatever its task: logits, those of auxiliary heads, scores and codes of boxes."""
    if isinstance(outputs, torch.Tensor):
        return [outputs] if outputs.is_floating_point() else []
    if isinstance(outputs, tuple | list):
        return [tensor for value in outputs for tensor in _tensors(value)]
    if dataclasses.is_dataclass(outputs):
        return _tensors(tuple(vars(outputs).values()))
    return []


def _logits(outputs: object) -> list[torch.Tensor]:
    """Those of the network and of its auxiliary heads, each (B, K, ...)."""
    return [outputs.logits, *outputs.auxiliary] if isinstance(outputs, AuxiliaryOutputs) else _tensors(outputs)


def _open(net: nn.Module) -> None:
    """Fills what starts at zero, a branch's last normalisation or scores: it would let no gradient through."""
    for layer in net.modules():
        if isinstance(layer, _BatchNorm | nn.Conv2d) and not layer.weight.any():
            nn.init.ones_(layer.weight)


def _batch(name: str) -> torch.Tensor:
    return torch.randn(2, *registry.card(name).input_shape)


def _settled(name: str) -> nn.Module:
    """Normalised by the statistics of one batch: 600 blocks of an untrained residual stream overflow without."""
    net = registry.build(name)
    for layer in net.modules():
        if isinstance(layer, _BatchNorm):
            layer.momentum = 1.0
    with torch.no_grad():
        for _ in range(12 if _draws_randomly(net) else 1):
            net(_batch(name))
    return net


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", EVERY_ON_META)
def test_shapes_on_meta(name: str) -> None:
    card = registry.card(name)
    assert card.summary
    outputs = _on_meta(name)(torch.empty(2, *card.input_shape, device="meta"))
    assert _tensors(outputs)
    if card.task != "detection":
        assert {tuple(logits.shape[:2]) for logits in _logits(outputs)} == {(2, card.num_classes)}


@pytest.mark.parametrize("name", EVERY_ON_META)
def test_honours_classes_and_channels(name: str) -> None:
    card = registry.card(name)

    def shapes(num_classes: int) -> list[torch.Size]:
        with torch.device("meta"):
            net = registry.build(name, num_classes=num_classes, in_channels=2)
            return [tensor.shape for tensor in _logits(net(torch.empty(2, 2, *card.input_shape[1:])))]

    if card.task == "detection":
        assert shapes(7) != shapes(8)
    else:
        assert {tuple(shape[:2]) for shape in shapes(7)} == {(2, 7)}


@pytest.mark.parametrize("name", EVERY)
def test_gradient_reaches_every_parameter(name: str) -> None:
    net = registry.build(name)
    if not any(p.requires_grad for p in net.parameters()):
        pytest.skip("learns by a rule of its own, without gradient")
    if _draws_randomly(net):
        net = _settled(name).eval()
    _open(net)
    outputs = _tensors(net(_batch(name)))
    assert all(values.isfinite().all() for values in outputs)
    torch.stack([(values * torch.randn_like(values)).sum() for values in outputs]).sum().backward()
    learned = [(path, p) for path, p in net.named_parameters() if p.requires_grad]
    without = [path for path, p in learned if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("name", EVERY)
def test_state_dict_round_trips(name: str) -> None:
    net, other = _settled(name).eval(), registry.build(name).eval()
    other.load_state_dict(net.state_dict())
    x = _batch(name)
    with torch.no_grad():
        outputs = _tensors(net(x))
        assert all(values.isfinite().all() for values in outputs)
        assert all(map(torch.equal, _tensors(other(x)), outputs))


@pytest.mark.parametrize("name", EVERY)
def test_train_and_eval_differ_where_they_should(name: str) -> None:
    net, x = _settled(name), _batch(name)
    _open(net)
    random = _draws_randomly(net) or any(isinstance(layer, _DropoutNd) for layer in net.modules())
    adaptive = any(isinstance(layer, _BatchNorm) for layer in net.modules())

    def first_of(net: nn.Module) -> torch.Tensor:
        return _tensors(net(x))[0]

    with torch.no_grad():
        assert torch.equal(first_of(net.eval()), first_of(net)), "eval mode must be a function of the input"
        before = {path: value.clone() for path, value in net.named_buffers()}
        torch.manual_seed(1)
        first = first_of(net.train())
        torch.manual_seed(2)
        second = first_of(net)
        assert torch.equal(first, second) is not random
        changed = any(not torch.equal(value, before[path]) for path, value in net.named_buffers())
        assert changed is adaptive
        assert torch.equal(first, first_of(net.eval())) is not (random or adaptive)


@pytest.mark.parametrize("name", EVERY_ON_META)
def test_activations_are_modules_of_their_own_place(name: str) -> None:
    """Attribution hooks need one module a place, and values that nobody overwrites.

    Where a part runs again, for each level of a pyramid or for each class, its activations do so too.
    """
    net = _on_meta(name)
    calls: dict[str, int] = {}
    hooks = [
        layer.register_forward_hook(lambda *_, path=path: calls.update({path: calls.get(path, 0) + 1}))
        for path, layer in net.named_modules()
        if isinstance(layer, ACTIVATIONS)
    ]
    net(torch.empty(2, *registry.card(name).input_shape, device="meta"))
    for hook in hooks:
        hook.remove()
    runs_again = {"mask_rcnn_resnet50_fpn": "rpn", "decouplednet_voc": "segmentation"}.get(name, "nothing")
    assert [path for path, count in calls.items() if count != 1 and not path.startswith(runs_again)] == []
    assert not [path for path, layer in net.named_modules() if getattr(layer, "inplace", False)]
