"""GoogLeNet to Xception: branches and heads by hand, and the whole against torchvision and timm."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from convatlas import facts, registry
from convatlas.analysis.trace import trace, trace_network
from convatlas.analysis.verify import compare, verify, weight_layers
from convatlas.architectures.classification.bn_inception import MaxPool
from convatlas.architectures.classification.inception_resnet import Residual
from convatlas.architectures.classification.xception import Block
from convatlas.blocks.inception import AuxiliaryPool, Branches, ConvBN, TrunkWithHeads
from convatlas.records import AuxiliaryOutputs
from convatlas.training.recipes import inception as recipes

DISPUTED = {
    "googlenet": 13,
    "googlenet_bn": 0,
    "bn_inception": 2,
    "bn_inception_paper": 2,
    "bn_inception_slim": 1,
    "inception_v2_rethinking": 3,
    "inception_v3": 2,
    "inception_v4": 0,
    "inception_resnet_v1": 0,
    "inception_resnet_v2_paper": 0,
    "inception_resnet_v2_released": 0,
    "xception": 1,
}
HEADS = {"googlenet": 2, "googlenet_bn": 2, "inception_v3": 1, "inception_resnet_v2_released": 1}
EXACT = {"rtol": 0, "atol": 1e-10}
LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("name", "disputed"), DISPUTED.items())
def test_the_ledger_holds(name: str, disputed: int) -> None:
    rows = verify(name)
    assert [row for row in rows if row.verdict == "fails"] == []
    assert sum(row.verdict == "disputed" for row in rows) == disputed
    assert all(row.reason for row in rows if row.verdict == "disputed")


@pytest.mark.parametrize("name", HEADS)
def test_heads_count_and_have_the_weight_of_the_recipe(name: str) -> None:
    with torch.device("meta"):
        net = registry.build(name)
    assert isinstance(net, TrunkWithHeads)
    printed = {row.quantity: row.printed for row in verify(name) if row.layer is None}
    assert f"{sum(p.numel() for p in net.parameters()):,}" == printed["parameters_with_aux"]
    assert "multiply_adds_with_aux" in printed
    assert {recipe.auxiliary_weight for recipe in recipes.RECIPES if recipe.network == name} == {net.auxiliary_weight}


def test_a_wrong_total_with_heads_fails() -> None:
    ledger = facts.network("googlenet")
    assert ledger is not None
    without = compare(ledger, trace_network("googlenet"), (3, 224, 224), trace_network("googlenet"))
    assert {row.quantity for row in without if row.verdict == "fails" and row.layer is None} == {
        "parameters_with_aux",
        "multiply_adds_with_aux",
    }


def test_tracing_in_train_mode_leaves_the_network_as_it_was() -> None:
    net = ConvBN(3, 4, 3).eval()
    before = {path: value.clone() for path, value in net.state_dict().items()}
    quiet = trace(net, (3, 5, 5), device="cpu")
    assert trace(net, (3, 5, 5), device="cpu", training=True) == quiet
    assert all(torch.equal(value, before[path]) for path, value in net.state_dict().items())
    assert not any(module.training for module in net.modules())


def test_depth_is_that_of_the_longest_path() -> None:
    beside = Branches({"a": nn.Conv2d(1, 1, 1)}, {"b": nn.Conv2d(1, 1, 1), "c": nn.Conv2d(1, 1, 1)})
    assert weight_layers(trace(nn.Sequential(beside, nn.Conv2d(2, 1, 1)), (1, 4, 4), device="cpu")) == 3


# ---------- layers, by hand


def test_branches_run_side_by_side_and_join_in_order() -> None:
    x = torch.tensor([[[[1.0, -2.0], [-3.0, 4.0]]]])
    block = Branches({"keep": nn.Identity()}, {"clip": nn.ReLU(), "pool": nn.MaxPool2d(2, stride=1, padding=0)})
    with pytest.raises(RuntimeError):
        block(x)  # maps of different size
    block = Branches({"keep": nn.Identity()}, {"clip": nn.ReLU()})
    assert block(x).tolist() == [[[[1, -2], [-3, 4]], [[1, 0], [0, 4]]]]


def test_auxiliary_pool_slides_over_the_published_map_and_splits_others() -> None:
    ramp = torch.arange(14.0).expand(1, 1, 14, 14)
    assert AuxiliaryPool(4)(ramp)[0, 0, 0].tolist() == [2, 5, 8, 11]  # centres of 0-4, 3-7, 6-10, 9-13
    assert AuxiliaryPool(4)(torch.arange(8.0).expand(1, 1, 8, 8))[0, 0, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    assert AuxiliaryPool(4)(torch.ones(1, 1, 2, 2)).shape == (1, 1, 4, 4)


def test_max_pool_loses_no_pixel() -> None:
    rows = [torch.arange(float(n)).expand(1, 1, n, n) for n in (1, 4, 5)]
    assert [MaxPool()(row)[0, 0, 0].tolist() for row in rows] == [[0], [2, 3], [1, 3, 4]]


def test_residual_is_scaled_and_added() -> None:
    block = Residual({"a": nn.Identity()}, {"b": nn.ReLU()}, width=2, channels=1, scale=0.5)
    nn.init.ones_(block.linear.weight)
    nn.init.zeros_(block.linear.bias)  # pyright: ignore[reportArgumentType]
    x = torch.tensor([4.0, -4.0]).view(2, 1, 1, 1)
    assert block(x).flatten().tolist() == [4 + 0.5 * (4 + 4), 0]  # -4 + 0.5 (-4 + 0) is clipped
    open_ended = Residual({"a": nn.Identity()}, {"b": nn.ReLU()}, width=2, channels=1, scale=0.5, relu=False)
    open_ended.load_state_dict(block.state_dict())
    assert open_ended(x).flatten().tolist() == [8, -6]


def test_xception_block_adds_its_shortcut() -> None:
    block = Block(4, 4, 4, 4).eval()
    for path, layer in block.named_modules():
        if path.endswith("sepconv3.bn"):
            nn.init.zeros_(layer.get_parameter("weight"))
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)
    assert Block(4, 6, 6)(x).shape == (2, 6, 3, 3)
    for separable in ("sepconv1", "sepconv2", "sepconv3"):
        assert [type(layer) for layer in block.get_submodule(separable)] == [nn.Conv2d, nn.Conv2d, nn.BatchNorm2d]  # pyright: ignore[reportGeneralTypeIssues]


def test_googlenet_normalises_as_caffe_does() -> None:
    net = registry.build("googlenet", num_classes=10)
    names = [name for name, _ in net.named_children()]
    assert names.index("norm1") == names.index("pool1") + 1
    assert names.index("pool2") == names.index("norm2") + 1
    norm = net.get_submodule("norm1")
    x = torch.full((1, 5, 1, 1), 100.0, dtype=torch.float64)
    assert norm(x)[0, 2].item() == pytest.approx(100 / (1 + 1e-4 * 100**2) ** 0.75, rel=1e-9)


def test_googlenet_starts_with_xavier_weights_and_biases_of_a_fifth() -> None:
    net = registry.build("googlenet")
    conv = net.get_parameter("inception_4e.3x3.weight")
    bound = (3 / (160 * 9)) ** 0.5
    assert conv.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert conv.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    biases = {path: p for path, p in net.named_parameters() if path.endswith("bias")}
    assert {path for path, p in biases.items() if not p.any()} == {
        "classifier.bias",
        "aux1.classifier.bias",
        "aux2.classifier.bias",
    }
    assert all((p == 0.2).all() for path, p in biases.items() if "classifier" not in path)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_heads_hang_where_the_paper_has_them(name: str) -> None:
    """GoogLeNet: after 4a and 4d. Inception-v3: after the last 17 x 17 module."""
    places = {"googlenet": {"aux1": "inception_4a", "aux2": "inception_4d"}, "inception_v3": {"aux": "mixed_6e"}}
    with torch.device("meta"):
        names = [child for child, _ in registry.build(name).named_children()]
    assert {head: names[names.index(head) - 1] for head in names if head.startswith("aux")} == places[name]


# ---------- in train mode


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("googlenet_bn", 64), ("inception_v3", 75)])
def test_heads_train_and_then_are_gone(name: str, size: int) -> None:
    net, x = registry.build(name, num_classes=10), torch.randn(2, 3, size, size)
    outputs = net.train()(x)
    assert isinstance(outputs, AuxiliaryOutputs)
    assert [head.shape for head in outputs.auxiliary] == HEADS[name] * [(2, 10)]
    sum(head.square().sum() for head in outputs.auxiliary).backward()  # pyright: ignore[reportAttributeAccessIssue]
    grads = {path.split(".")[0]: p.grad is not None and bool(p.grad.any()) for path, p in net.named_parameters()}
    last = max(i for i, head in enumerate(grads) if head.startswith("aux"))
    assert all(value for i, value in enumerate(grads.values()) if i <= last)
    assert not any(value for i, value in enumerate(grads.values()) if i > last)
    with torch.no_grad():
        assert isinstance(net.eval()(x), Tensor)


def test_every_network_has_a_published_recipe() -> None:
    assert {recipe.network for recipe in recipes.RECIPES if recipe.variant == "published"} == DISPUTED.keys()
    rates = next(r.schedule for r in recipes.RECIPES if r.network == "xception")
    assert [rates.rate(0.045, step, 100) for step in (0, 1, 2, 4)] == pytest.approx(
        [0.045, 0.045, 0.045 * 0.94, 0.045 * 0.94**2]
    )


# ---------- the whole against independent implementations


def _randomise(net: nn.Module) -> None:
    """Weights and statistics with which every layer has its say, and nothing explodes."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.normal_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-3
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
            for statistic, low in ((layer.running_mean, -0.1), (layer.running_var, 0.5)):
                assert statistic is not None
                nn.init.uniform_(statistic, low, low + 1)


def _leaves(net: nn.Module, *, heads: bool) -> Iterator[tuple[str, nn.Module]]:
    """Layers with parameters, those of the auxiliary heads or the others, in their order."""
    for path, layer in net.named_modules():
        if isinstance(layer, LAYERS) and path.lower().startswith("aux") is heads:
            yield path, layer


def _copy(ours: nn.Module, theirs: nn.Module) -> None:
    """Copies parameters and statistics in the order of the layers, trunk and heads each by themselves."""
    for heads in (False, True):
        from_them = list(_leaves(theirs, heads=heads))
        if heads and not from_them:
            return  # timm leaves the head of Inception-ResNet-v2 out
        for (path, layer), (their_path, their_layer) in zip(_leaves(ours, heads=heads), from_them, strict=True):
            assert isinstance(their_layer, type(layer)), (path, their_path)
            layer.load_state_dict(their_layer.state_dict())


def _pair(name: str, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    _randomise(theirs)
    ours = registry.build(name, num_classes=10)
    _copy(ours, theirs)
    return ours.double().eval(), theirs.double().eval()


@pytest.fixture(params=["googlenet_bn", "inception_v3"], scope="module")
def torchvision_pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module, int]:
    models = pytest.importorskip("torchvision.models")
    if request.param == "googlenet_bn":
        theirs = models.googlenet(num_classes=10, aux_logits=True, init_weights=False)
        return *_pair("googlenet_bn", theirs), 64
    theirs = models.inception_v3(num_classes=10, aux_logits=True, init_weights=False, dropout=0.2)
    return *_pair("inception_v3", theirs), 299  # their head needs 17 x 17 maps


def test_equals_torchvision(torchvision_pair: tuple[nn.Module, nn.Module, int]) -> None:
    ours, theirs, size = torchvision_pair
    for side in (min(size, 75), min(size, 75) + 6):
        x = torch.randn(2, 3, side, side, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), theirs(x), **EXACT)


def test_equals_torchvision_in_training(torchvision_pair: tuple[nn.Module, nn.Module, int]) -> None:
    """Dropout draws from the same seed; the heads agree too, and so do the running statistics afterwards."""
    ours, theirs, size = torchvision_pair
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        torch.manual_seed(1)
        logits, auxiliary = ours.train()(x)
        torch.manual_seed(1)
        their_logits, *their_auxiliary = theirs.train()(x)
    torch.testing.assert_close(logits, their_logits, **EXACT)
    for head, their_head in zip(auxiliary, reversed(their_auxiliary), strict=True):  # theirs come deepest first
        torch.testing.assert_close(head, their_head, **EXACT)
    for (_, layer), (_, their_layer) in zip(_leaves(ours, heads=False), _leaves(theirs, heads=False), strict=True):
        for value, their_value in zip(layer.state_dict().values(), their_layer.state_dict().values(), strict=True):
            torch.testing.assert_close(value, their_value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "their_name"),
    [("inception_v4", "inception_v4"), ("inception_resnet_v2_released", "inception_resnet_v2")],
)
def test_equals_timm(name: str, their_name: str) -> None:
    timm = pytest.importorskip("timm")
    ours, theirs = _pair(name, timm.create_model(their_name, num_classes=10))
    x = torch.randn(2, 3, 75, 75, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), **EXACT)


def test_xception_equals_timm() -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("legacy_xception", num_classes=10)
    _randomise(theirs)
    ours = registry.build("xception", num_classes=10)
    theirs_in_our_order = nn.ModuleList(
        part
        for child in theirs.children()
        for part in ([child.rep, child.skip, child.skipbn] if getattr(child, "skip", None) else [child])
    )
    _copy(ours, theirs_in_our_order)
    ours, theirs = ours.double().eval(), theirs.double().eval()
    for side in (64, 71):
        x = torch.randn(2, 3, side, side, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), theirs(x), **EXACT)
