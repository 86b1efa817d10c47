"""What a recipe may add to plain training: each field changes what it says it changes."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from convatlas.data import Batch
from convatlas.errors import UsageError
from convatlas.records import Preprocessing
from convatlas.training import Recipe, find
from convatlas.training import recipe as recipes
from convatlas.training.averaging import Average
from convatlas.training.compiling import Compiled, is_long
from convatlas.training.distributed import Processes
from convatlas.training.losses import CrossEntropy, SquaredError
from convatlas.training.mechanisms import ClipNorm, ClipValue, EarlyStopping, Ema, FilterNorm, ParameterGroup, Polyak
from convatlas.training.prepare import (
    class_weights,
    make_optimizer,
    parameter_groups,
    renormalise_filters,
    set_batch_norm_momentum,
)
from convatlas.training.recipe import SGD, AdamW, DiagonalLM
from convatlas.training.schedules import Cosine
from convatlas.training.step import Learner

CPU = Processes(torch.device("cpu"))
RECIPE = Recipe("lenet5", "test", "a test", epochs=1, batch_size=8, optimizer=SGD(lr=0.5, momentum=0.0))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


def batch(n: int = 8) -> Batch:
    draw = torch.Generator().manual_seed(1)
    return Batch(torch.randn(n, 3, 2, 2, generator=draw), torch.arange(n) % 3, torch.arange(n), n)


def stepped(recipe: Recipe, some: Batch | None = None, *, model: nn.Module | None = None, **more) -> nn.Module:
    """The network after one step."""
    model = model or net()
    Learner(recipe, model, make_optimizer(recipe, model), CPU, steps=10, **more).learn(some or batch(), 0, 0.5)
    return model


def test_ema_equals_torchs_average_once_its_decay_is_reached():
    model = net()
    ours = Average(model, Ema(decay=0.0), steps=20)
    ours.update(0)  # a decay of 0 copies the weights
    ours._rule = Ema(decay=0.1)  # the warm-up's first decay, so that it never rises
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.1), use_buffers=True)
    theirs.update_parameters(model)
    for step in range(1, 20):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        ours.update(step)
        theirs.update_parameters(model)
    own = model[1].weight.clone()
    with ours.in_place():
        for name, value in theirs.module.state_dict().items():
            assert torch.allclose(model.state_dict()[name], value, atol=1e-6), name
    assert torch.equal(model[1].weight, own)


def test_ema_warms_up_by_hand():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 0.0)
    average = Average(layer, Ema(decay=0.15), steps=3)
    nn.init.constant_(layer.weight, 1.0)
    for step, expected in enumerate((0.9, 1 - 0.1 * 0.15, 1 - 0.1 * 0.15**2)):  # decay 1/10, then 0.15 < 2/11
        average.update(step)
        with average.in_place():
            assert layer.weight.item() == pytest.approx(expected)


def test_polyak_is_the_mean_of_the_last_weights():
    layer = nn.Linear(1, 1, bias=False)
    average = Average(layer, Polyak(start=0.5), steps=4)
    for step, value in enumerate((5.0, 7.0, 1.0, 3.0)):
        nn.init.constant_(layer.weight, value)
        average.update(step)
        with average.in_place():
            assert layer.weight.item() == pytest.approx((5.0, 7.0, 1.0, 2.0)[step])


def test_clipping_by_norm_and_by_value():
    start, free = net()[1].weight, stepped(RECIPE)[1].weight
    pairs = zip(net().parameters(), stepped(RECIPE).parameters(), strict=True)
    gradient = torch.cat([((before - after) / 0.5).flatten() for before, after in pairs])
    length = gradient.norm().item()
    clipped = stepped(replace(RECIPE, clip=ClipNorm(length / 4)))[1].weight
    assert torch.allclose(start - clipped, (start - free) / 4, atol=1e-5)
    assert torch.equal(stepped(replace(RECIPE, clip=ClipNorm(length * 4)))[1].weight, free)
    cut = stepped(replace(RECIPE, clip=ClipValue(0.01)))[1].weight
    assert torch.allclose(start - cut, (start - free).clamp(-0.005, 0.005), atol=1e-6)
    assert (start - free).abs().max() > 0.005


@pytest.mark.parametrize("parts", [2, 3])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(parts):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))  # without statistics of the batch
    start = {name: value.clone() for name, value in model.state_dict().items()}
    whole = stepped(RECIPE, model=model).state_dict()["1.weight"].clone()
    model.load_state_dict(start)
    apart = stepped(replace(RECIPE, accumulate=parts), model=model).state_dict()["1.weight"]
    assert torch.allclose(whole, apart, atol=1e-6)
    summed = replace(RECIPE, loss=SquaredError(), optimizer=SGD(lr=0.01, momentum=0.0))
    found = []
    for recipe in (summed, replace(summed, accumulate=parts)):
        model.load_state_dict(start)
        found.append(stepped(recipe, model=model).state_dict()["1.weight"].clone())
    assert torch.allclose(*found, atol=1e-5)


def test_class_weights_scale_the_losses_of_their_class():
    labels = torch.tensor([0, 0, 0, 1])
    weights = class_weights(replace(RECIPE, class_weights="balanced"), labels, 2)
    assert weights is not None
    assert weights.tolist() == pytest.approx([2 / 3, 2.0])
    assert weights[labels].mean() == pytest.approx(1.0)
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    each = nn.functional.cross_entropy(logits, torch.tensor([0, 0]), reduction="none")
    assert CrossEntropy()(logits, torch.tensor([0, 0]), weights).item() == pytest.approx(each.mean().item() * 2 / 3)
    assert torch.allclose(stepped(RECIPE, class_weights=torch.ones(3))[1].weight, stepped(RECIPE)[1].weight, atol=1e-6)
    assert not torch.allclose(
        stepped(RECIPE, class_weights=torch.tensor([2.0, 0.5, 0.5]))[1].weight, stepped(RECIPE)[1].weight, atol=1e-4
    )


def test_class_weights_that_do_not_fit_are_named():
    with pytest.raises(UsageError, match="3 entries; expected 2"):
        class_weights(replace(RECIPE, class_weights=(1.0, 1.0, 1.0)), torch.tensor([0, 1]), 2)
    with pytest.raises(UsageError, match="SquaredError"):
        class_weights(replace(RECIPE, class_weights="balanced", loss=SquaredError()), torch.tensor([0, 1]), 2)


def test_caffes_biases_learn_twice_as_fast_and_do_not_decay():
    recipe = replace(RECIPE, optimizer=SGD(lr=0.5, momentum=0.0, weight_decay=0.1))
    groups = (ParameterGroup(of="norm", weight_decay=0.0), ParameterGroup("*.bias", lr_scale=2.0, weight_decay=0.0))
    start, plain = net(), stepped(RECIPE)
    found = stepped(replace(recipe, groups=groups))
    assert torch.allclose(start[3].bias - found[3].bias, 2 * (start[3].bias - plain[3].bias), atol=1e-6)
    decayed = start[1].weight - plain[1].weight + 0.5 * 0.1 * start[1].weight
    assert torch.allclose(start[1].weight - found[1].weight, decayed, atol=1e-6)
    assert torch.allclose(found[2].weight, plain[2].weight, atol=1e-6)  # "norm" comes first: neither faster nor decayed


def test_frozen_parameters_stay_and_what_fits_nothing_is_named():
    model = net()
    found = parameter_groups(model, (ParameterGroup("1.*", frozen=True), ParameterGroup("3.weight", lr_scale=0.1)))
    assert [(len(group["params"]), group["lr_scale"]) for group in found] == [(1, 0.1), (3, 1.0)]
    assert not model[1].weight.requires_grad
    with pytest.raises(UsageError, match=r"'fc8\.\*' fits no parameter"):
        parameter_groups(net(), (ParameterGroup("fc8.*"),))
    with pytest.raises(UsageError, match="every parameter is frozen"):
        parameter_groups(net(), (ParameterGroup(frozen=True),))
    with pytest.raises(UsageError, match="no place in DiagonalLM"):
        make_optimizer(replace(RECIPE, optimizer=DiagonalLM(), groups=(ParameterGroup(),)), net())


def test_early_stopping_by_hand():
    stop = EarlyStopping(patience=2, least_gain=0.05)
    assert [stop.reached([0.5, 0.4, 0.38, 0.37, 0.3][:n]) for n in range(6)] == [False] * 4 + [True, False]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_is_near_the_full_one_and_acts(precision):
    full, mixed = stepped(RECIPE)[1].weight, stepped(replace(RECIPE, precision=precision))[1].weight
    assert mixed.dtype == torch.float32
    assert not torch.equal(full, mixed)
    assert torch.allclose(full, mixed, atol=0.02)


def test_fp16_leaves_out_a_step_whose_gradient_overflows():
    model = net()
    recipe = replace(RECIPE, precision="fp16")
    learner = Learner(recipe, model, make_optimizer(recipe, model), CPU, steps=10)
    assert learner.scaler is not None
    learner.learn(batch(), 0, 0.5)
    learner.scaler.update(1e38)
    before = model[1].weight.clone()
    learner.learn(batch(), 1, 0.5)
    assert torch.equal(model[1].weight, before)
    assert learner.scaler.get_scale() == pytest.approx(5e37)


def test_a_function_that_cant_be_compiled_runs_as_it_is(monkeypatch):
    from torch._dynamo.exc import TorchDynamoException

    def no_compiler(function, **options):
        def fails(*arguments):
            raise TorchDynamoException("No working C++ compiler found")

        return fails

    monkeypatch.setattr(torch, "compile", no_compiler)
    notes = []
    compiled = Compiled(lambda x: x + 1, notes.append)
    assert [compiled(1), compiled(2)] == [2, 3]
    assert len(notes) == 1
    assert "C++ compiler" in notes[0]


def test_compiling_is_for_long_runs():
    recipe = find("cifar_resnet20", "published", preprocessing=Preprocessing(size=(32, 32)))
    assert is_long(recipe, (3, 32, 32), 45_000, torch.device("cpu"))
    assert not is_long(replace(recipe, epochs=1), (3, 32, 32), 5_000, torch.device("cpu"))


@pytest.mark.slow
def test_a_compiled_step_is_the_same_step_and_keeps_plain_names():
    found = stepped(RECIPE, compile_with=lambda function: Compiled(function, pytest.fail)).state_dict()
    expected = stepped(RECIPE).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in found)


def test_settings_of_the_command_line_change_fields_of_any_depth():
    found = recipes.changed(
        replace(RECIPE, groups=(ParameterGroup(),)),
        [
            "optimizer.lr=0.1",
            "averaging=Ema(decay=0.5)",
            "schedule=Cosine",
            "schedule.warm_up=0.2",
            "clip=ClipNorm(norm=1)",
            "class_weights=[1, 2]",
            "groups.0.lr_scale=2",
            "compile=false",
            "precision=bf16",
            "data.root=/some/where",
        ],
    )
    assert found == replace(
        RECIPE,
        optimizer=SGD(lr=0.1, momentum=0.0),
        averaging=Ema(decay=0.5),
        schedule=Cosine(warm_up=0.2),
        clip=ClipNorm(norm=1.0),
        class_weights=(1.0, 2.0),
        groups=(ParameterGroup(lr_scale=2.0),),
        compile=False,
        precision="bf16",
        data=replace(RECIPE.data, root="/some/where"),
    )
    assert recipes.changed(found, ["averaging=none"]).averaging is None
    assert recipes.changed(RECIPE, ["optimizer=AdamW(lr=1e-3)"]).optimizer == AdamW(lr=1e-3)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("epochs", "expected field=value"),
        ("epoch=3", "epoch: no such field; Recipe has network, .*epochs"),
        ("epochs=many", "epochs is '?many'?; expected int"),
        ("epochs=0", "epochs is 0; expected at least 1"),
        ("optimizer.rate=1", "rate: no such field; SGD has lr, momentum"),
        ("optimizer=AdamW", "optimizer.lr is missing; AdamW needs it"),
        ("optimizer=Adagrad", "optimizer is '?Adagrad'?; expected SGD or AdamW"),
        ("averaging.decay=0.9", "averaging is not set"),
        ("averaging=Ema(decay=2)", "decay is 2.*at most 1"),
        ("precision=fp8", "expected no or bf16 or fp16"),
        ("augment.3=HorizontalFlip", "the list has 0 entries"),
    ],
)
def test_a_setting_that_is_wrong_says_what_would_be_right(setting, sentence):
    with pytest.raises(UsageError, match=sentence):
        recipes.changed(RECIPE, [setting])


def test_a_recipe_with_every_mechanism_survives_its_file(tmp_path):
    full = replace(
        RECIPE,
        groups=(ParameterGroup("*.bias", lr_scale=2.0, weight_decay=0.0), ParameterGroup(of="norm", frozen=True)),
        averaging=Polyak(start=0.5),
        clip=ClipValue(1.0),
        accumulate=4,
        sampling="balanced",
        class_weights="balanced",
        stop=EarlyStopping(patience=3),
        precision="fp16",
        channels_last=True,
        compile=True,
        sync_batchnorm=False,
        shard=True,
    )
    path = tmp_path / "recipe.toml"
    path.write_text(recipes.to_toml(full))
    assert recipes.read(path) == full


def test_filters_are_scaled_back_after_the_step_and_statistics_have_the_recipes_momentum() -> None:
    conv, norm, linear = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(12, 2)
    net = nn.Sequential(conv, norm, nn.Flatten(), linear)
    with torch.no_grad():
        conv.weight.fill_(0.5)
        conv.weight[1] = 0.02
        linear.weight.fill_(0.5)
    renormalise_filters(net, FilterNorm(rms=0.1))
    rms = conv.weight.detach().flatten(1).square().mean(dim=1).sqrt()
    assert rms.tolist() == pytest.approx([0.1, 0.02, 0.1])
    assert linear.weight.min() == 0.5  # fully connected layers are left alone
    set_batch_norm_momentum(net, None)
    assert norm.momentum == 0.1
    set_batch_norm_momentum(net, 0.0003)
    assert norm.momentum == 0.0003
