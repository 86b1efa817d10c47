"""Preprocessing, its defaults, and loaders whose values depend on nothing but their arguments."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data import (
    AffineDistortion,
    ArraySplit,
    FileSplit,
    HorizontalFlip,
    LabelAssembly,
    Loader,
    PadCrop,
    RandomCrop,
    RandomResizedCrop,
    default_preprocessing,
    load,
    normalise,
    prepare,
)
from convatlas.data.buffers import Buffers
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import NetworkCard, Preprocessing

COLOUR = Preprocessing((8, 8), mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))
CIFAR_AUGMENT = (PadCrop(2), HorizontalFlip())


def card(name: str, *shape: int) -> NetworkCard:
    return NetworkCard(name, "classification", "key", shape, 10, "", (), torch.nn.Identity)


def arrays(n: int = 23, channels: int = 3, side: int = 8) -> ArraySplit:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8, generator=generator)
    return ArraySplit(images, torch.arange(n) % 3)


@pytest.fixture
def photos(tmp_path: Path) -> FileSplit:
    """Nine images of different sizes."""
    paths = []
    for i in range(9):
        pixels = np.random.default_rng(i).integers(0, 256, (20 + 3 * i, 40 - 2 * i, 3), dtype=np.uint8)
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return FileSplit(paths, torch.arange(9) % 3)


def gather(loader: Loader, epoch: int = 0, start_step: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batches = list(loader.epoch(epoch, start_step))
    return (
        torch.cat([batch.images for batch in batches]),
        torch.cat([batch.labels for batch in batches]),
        torch.cat([batch.indices for batch in batches]),
    )


def test_normalise_by_hand() -> None:
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    assert torch.allclose(normalise(pixels, COLOUR).flatten(), torch.tensor([-1.0, 2.4, -0.5]))
    assert torch.allclose(normalise(pixels.float(), COLOUR).flatten(), torch.tensor([-1.0, 2.4, -0.5]))
    bgr = Preprocessing((1, 1), mean=COLOUR.mean, std=COLOUR.std, channel_order="bgr")
    assert torch.allclose(normalise(pixels, bgr).flatten(), torch.tensor([-0.5, 2.4, -1.0]))
    with pytest.raises(UsageError, match="mean has 2 values"):
        normalise(pixels, Preprocessing((1, 1), mean=(0.1, 0.2)))


def test_lenet_sees_background_and_ink_as_published() -> None:
    preprocessing = default_preprocessing(card("lenet5", 1, 32, 32), arrays(4, 1, 28))
    scaled = normalise(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1), preprocessing)
    assert torch.allclose(scaled.flatten(), torch.tensor([-0.1, 1.175]))


@pytest.mark.parametrize(("height", "width"), [(60, 90), (91, 60), (300, 257), (40, 40)])
def test_short_side_and_centre_crop_equal_torchvision(height: int, width: int) -> None:
    from torchvision.transforms import v2

    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    reference = v2.Compose([v2.Resize(64, antialias=True), v2.CenterCrop(56)])
    ours = prepare(image, Preprocessing((56, 56), resize="short_side", resize_to=64))
    assert ours.shape == (3, 56, 56)
    differences = (ours.int() - reference(image).int()).abs()
    if (height, width) != (91, 60):  # an odd rest: torchvision rounds half to even, we leave the pixel at the end
        assert differences.max() <= 1


def test_fit_keeps_the_aspect_and_pads_with_black() -> None:
    image = torch.full((1, 10, 20), 200, dtype=torch.uint8)
    fitted = prepare(image, Preprocessing((8, 8), channels=1, resize="fit", resize_to=6))
    expected = torch.zeros(8, 8, dtype=torch.uint8)
    expected[2:5, 1:7] = 200  # 3 x 6 in the middle; of the 5 spare rows the odd one is below
    assert torch.equal(fitted[0], expected)


def test_a_line_of_pixels_stays_small() -> None:
    line = torch.zeros(3, 1, 100_000, dtype=torch.uint8)
    assert prepare(line, Preprocessing((8, 8), resize="short_side", resize_to=16)).shape == (3, 8, 8)


def test_channels_become_grey_as_pillow_has_it_or_are_repeated() -> None:
    image = arrays(1, 3).read(0)
    grey = prepare(image, Preprocessing((8, 8), channels=1))
    reference = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
    assert np.array_equal(grey[0].numpy(), reference)
    assert torch.equal(prepare(grey, Preprocessing((8, 8), channels=3))[2], grey[0])
    with pytest.raises(UsageError, match="3 channels can't become 2"):
        prepare(image, Preprocessing((8, 8), channels=2))


@pytest.mark.parametrize(
    ("name", "shape", "image", "expected"),
    [
        ("lenet5", (1, 32, 32), 28, ("none", None)),
        ("lenet5", (1, 32, 32), 8, ("fit", 28)),
        ("lenet5", (1, 32, 32), 100, ("fit", 28)),
        ("caffe_lenet", (1, 28, 28), 8, ("fit", 28)),
        ("caffe_lenet", (1, 28, 28), 28, ("none", None)),
        ("lenet_1989", (1, 16, 16), 28, ("fit", 16)),
        ("cifar_resnet20", (3, 32, 32), 32, ("none", None)),
        ("cifar_resnet20", (3, 32, 32), 28, ("none", None)),
        ("cifar_resnet20", (3, 32, 32), 8, ("short_side", 32)),
        ("cifar_resnet20", (3, 32, 32), 64, ("short_side", 32)),
        ("resnet18", (3, 224, 224), 500, ("short_side", 256)),
        ("alexnet", (3, 227, 227), 300, ("short_side", 256)),
        ("alexnet", (3, 227, 227), 32, ("short_side", 227)),
    ],
)
def test_default_geometry(name: str, shape: tuple[int, ...], image: int, expected: tuple) -> None:
    preprocessing = default_preprocessing(card(name, *shape), arrays(3, shape[0], image))
    assert preprocessing.size == shape[1:]
    assert preprocessing.channels == shape[0]
    assert (preprocessing.resize, preprocessing.resize_to) == expected


def test_default_statistics_are_those_of_the_training_images(photos: FileSplit) -> None:
    split = arrays(9, 3, 32)
    preprocessing = default_preprocessing(card("cifar_resnet20", 3, 32, 32), split)
    values = split.images.double() / 255
    assert preprocessing.mean == pytest.approx(values.mean((0, 2, 3)).tolist(), abs=5.1e-5)
    assert preprocessing.std == pytest.approx(values.std((0, 2, 3), correction=0).tolist(), abs=5.1e-5)
    assert default_preprocessing(card("resnet18", 3, 224, 224), photos).mean == (0.485, 0.456, 0.406)
    loaded = normalise(torch.cat([prepare(p[None], preprocessing) for p in split.images]), preprocessing)
    assert loaded.mean((0, 2, 3)).abs().max() < 1e-3


@pytest.mark.parametrize(("batch_size", "drop_last", "sizes"), [(10, False, [10, 10, 3]), (10, True, [10, 10])])
def test_batches_cover_the_split_in_order(batch_size: int, drop_last: bool, sizes: list[int]) -> None:
    loader = Loader(LabelAssembly(arrays(), COLOUR), batch_size=batch_size, drop_last=drop_last)
    batches = list(loader.epoch(0))
    assert len(loader) == len(sizes)
    assert [len(batch.labels) for batch in batches] == sizes
    images, labels, indices = gather(loader)
    assert indices.tolist() == list(range(sum(sizes)))
    assert torch.equal(labels, indices % 3)
    assert torch.equal(images, normalise(arrays().images, COLOUR)[: sum(sizes)])


def test_shuffling_and_augmentation_are_functions_of_seed_and_epoch() -> None:
    first = Loader(LabelAssembly(arrays(), COLOUR, CIFAR_AUGMENT), batch_size=4, shuffle=True, seed=1)
    again = Loader(LabelAssembly(arrays(), COLOUR, CIFAR_AUGMENT), batch_size=4, shuffle=True, seed=1)
    torch.rand(3)  # the global generator plays no part
    for mine, its in zip(gather(first, 5), gather(again, 5), strict=True):
        assert torch.equal(mine, its)
    assert sorted(gather(first, 5)[2].tolist()) == list(range(23))
    assert gather(first, 5)[2].tolist() != gather(first, 6)[2].tolist()


def test_a_resumed_epoch_goes_on_where_it_stopped() -> None:
    loader = Loader(LabelAssembly(arrays(), COLOUR, CIFAR_AUGMENT), batch_size=4, shuffle=True, seed=1)
    whole, rest = gather(loader, 2), gather(loader, 2, start_step=2)
    for all_of_it, part in zip(whole, rest, strict=True):
        assert torch.equal(all_of_it[8:], part)
    assert list(loader.epoch(2, start_step=len(loader))) == []
    assert list(Loader(LabelAssembly(arrays(), COLOUR), batch_size=24, drop_last=True).epoch(0)) == []


def test_a_samples_augmentation_does_not_depend_on_the_batch_size() -> None:
    small = Loader(LabelAssembly(arrays(), COLOUR, (AffineDistortion(),)), batch_size=1, shuffle=False, seed=3)
    large = Loader(LabelAssembly(arrays(), COLOUR, (AffineDistortion(),)), batch_size=23, shuffle=True, seed=3)
    images, _, indices = gather(large, 4)
    assert torch.equal(gather(small, 4)[0][indices], images)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    "augment", [(), (PadCrop(2), HorizontalFlip()), (RandomResizedCrop((16, 16)), HorizontalFlip())]
)
def test_memory_files_and_workers_give_the_same_values(photos: FileSplit, augment: tuple) -> None:
    preprocessing = Preprocessing((16, 16), resize="short_side", resize_to=18)
    state = torch.get_rng_state()
    loaders = [
        Loader(LabelAssembly(photos, preprocessing, augment), batch_size=4, shuffle=True, seed=2, **how)
        for how in ({}, {"memory_limit_bytes": 0}, {"memory_limit_bytes": 0, "workers": 2})
    ]
    assert [loader.in_memory for loader in loaders] == [True, False, False]
    results = [gather(loader, 1, start_step=1) for loader in loaders]
    for other in results[1:]:
        assert all(torch.equal(mine, its) for mine, its in zip(results[0], other, strict=True))
    assert results[0][0].shape == (5, 3, 16, 16)
    assert torch.equal(torch.get_rng_state(), state)  # or dropout would depend on the number of workers


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_without_a_check_damaged_images_are_left_out_and_named_when_met(photos: FileSplit, workers: int) -> None:
    Path(photos.paths[4]).write_bytes(b"not an image")
    split = photos.select(range(9))
    loader = Loader(
        LabelAssembly(split, COLOUR, CIFAR_AUGMENT), batch_size=4, memory_limit_bytes=0, check=False, workers=workers
    )
    assert (len(loader), split.problems) == (3, [])
    for _ in range(2):
        batches = list(loader.epoch(0))
        assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2, 3], [5, 6, 7], [8]]
        assert [batch.total for batch in batches] == [4, 3, 1]
    assert [(problem.path, problem.reason) for problem in split.problems] == [
        (photos.paths[4], "not an image, or of an unknown format")
    ]
    with pytest.raises(ConvatlasError, match=r"no image of a batch can be read; .*4\.png: not an image"):
        list(
            Loader(
                LabelAssembly(split, COLOUR), batch_size=1, memory_limit_bytes=0, check=False, workers=workers
            ).epoch(0)
        )
    checked = Loader(LabelAssembly(photos.select(range(9)), COLOUR), batch_size=4, memory_limit_bytes=0)
    assert len(checked.split) == 8


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_outlive_epochs_and_abandoned_ones(photos: FileSplit) -> None:
    settings = {"batch_size": 2, "shuffle": True, "memory_limit_bytes": 0}
    loader, alone = (
        Loader(LabelAssembly(photos, COLOUR, CIFAR_AUGMENT), workers=2, **settings),
        Loader(LabelAssembly(photos, COLOUR, CIFAR_AUGMENT), **settings),
    )
    next(iter(loader.epoch(0)))
    for epoch, start_step in ((0, 0), (1, 2), (2, 0)):
        for mine, its in zip(gather(loader, epoch, start_step), gather(alone, epoch, start_step), strict=True):
            assert torch.equal(mine, its)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_the_memory_of_a_batch_is_taken_again_only_when_nobody_holds_it(photos: FileSplit, workers: int) -> None:
    large = Preprocessing((160, 160), resize="stretch", resize_to=160)
    loader = Loader(LabelAssembly(photos, large), batch_size=1, memory_limit_bytes=0, workers=workers)
    expected = [normalise(prepare(photos.read(index), large)[None], large) for index in range(9)]
    held = [batch.images for batch in loader.epoch(0)]
    assert all(torch.equal(mine, right) for mine, right in zip(held, expected, strict=True))
    places = {images.data_ptr() for images in held}
    assert len(places) == 9
    del held
    seen = set()
    for batch, right in zip(loader.epoch(1), expected, strict=True):
        assert torch.equal(batch.images, right)
        seen.add(batch.images.data_ptr())
    assert len(seen) == 2  # one is filled while the other is looked at


def test_a_view_or_a_graph_holds_the_memory_of_a_batch() -> None:
    buffers = Buffers()
    view = buffers.empty((4, 3))[1:2].fill_(1)
    weight = torch.ones(3, requires_grad=True)
    product = (buffers.empty((4, 3)).fill_(2) * weight).sum()
    for _ in range(6):
        buffers.empty((4, 3)).fill_(0)
    product.backward()
    assert view.tolist() == [[1, 1, 1]]
    assert weight.grad is not None
    assert weight.grad.tolist() == [8, 8, 8]
    small = buffers.empty((2, 3))
    assert small.shape == (2, 3)
    assert small.data_ptr() % 64 == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_wrong_argument_is_no_damage_and_arrives_from_workers_as_one_sentence(photos: FileSplit) -> None:
    crop = (RandomCrop((8, 8), within=(4, 4)),)
    loader = Loader(LabelAssembly(photos, COLOUR, crop), batch_size=2, memory_limit_bytes=0, workers=1)
    with pytest.raises(UsageError, match=r"^a random crop of 8 x 8 does not fit into images of 4 x 4 pixels$"):
        list(loader.epoch(0))


def test_batches_from_workers_can_be_pinned_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.data._utils.pin_memory import pin_memory

    from convatlas.data.assembly import Columns
    from convatlas.data.workers import Assembled

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)  # there is no GPU to pin for
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    pinned = pin_memory(Assembled(Columns(images, (images[:, 0],)), (0,), ()))
    assert torch.equal(pinned.columns.images, images + 1)
    assert torch.equal(pinned.columns.targets[0], images[:, 0] + 1)


def test_large_images_are_normalised_to_the_same_bits() -> None:
    large = torch.randint(0, 256, (2, 3, 200, 200), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    small = large.view(2, 3, 400, 100)[:, :, :2, :2]
    corner = normalise(large.view(2, 3, 400, 100), COLOUR)[:, :, :2, :2]
    assert torch.equal(corner, normalise(small, COLOUR))
    assert torch.equal(normalise(large.float(), COLOUR), normalise(large, COLOUR))


def test_random_crop_of_photos_sees_more_than_the_centre(photos: FileSplit) -> None:
    preprocessing = Preprocessing((16, 16), resize="short_side", resize_to=24)
    loader = Loader(LabelAssembly(photos, preprocessing, (RandomCrop((16, 16)),)), batch_size=9)
    plain = Loader(LabelAssembly(photos, preprocessing), batch_size=9)
    assert next(loader.epoch(0)).images.shape == next(plain.epoch(0)).images.shape
    assert not torch.equal(next(loader.epoch(0)).images, next(loader.epoch(1)).images)


def test_progress_is_told_until_the_end(photos: FileSplit) -> None:
    told: list[tuple[int, int]] = []
    Loader(LabelAssembly(photos, COLOUR), batch_size=2, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (9, 9)


@pytest.mark.parametrize("kept", [True, False], ids=["in memory", "read one by one"])
def test_the_shares_of_the_processes_make_up_each_batch_once(kept: bool, photos: FileSplit) -> None:
    split = arrays(9) if kept else photos
    limit = 1 << 30 if kept else 0
    settings = {"batch_size": 4, "shuffle": True, "memory_limit_bytes": limit}
    alone = list(Loader(LabelAssembly(split, COLOUR, CIFAR_AUGMENT), **settings).epoch(2, 1))
    shares = [
        list(Loader(LabelAssembly(split, COLOUR, CIFAR_AUGMENT), share=(rank, 3), **settings).epoch(2, 1))
        for rank in range(3)
    ]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert torch.equal(whole.indices, torch.cat([part.indices for part in parts]))
        assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
        assert torch.equal(whole.labels, torch.cat([part.labels for part in parts]))
        assert [part.total for part in parts] == [len(whole.labels)] * 3
    assert [len(part.labels) for part in (shares[0][-1], shares[1][-1], shares[2][-1])] == [1, 0, 0]


def test_balanced_batches_hold_every_class_equally_often() -> None:
    split = ArraySplit(arrays(24).images, torch.tensor([0] * 20 + [1] * 4))
    labels = torch.cat(
        [batch.labels for batch in Loader(LabelAssembly(split, COLOUR), batch_size=5, balanced=True).epoch(0)]
    )
    assert torch.bincount(labels).tolist() == [12, 12]


def test_arguments_out_of_range() -> None:
    for argument in ({"batch_size": 0}, {"batch_size": 1, "seed": -1}, {"batch_size": 1, "workers": -1}):
        with pytest.raises(UsageError, match=next(reversed(argument))):
            Loader(LabelAssembly(arrays(), COLOUR), **argument)
    with pytest.raises(UsageError, match="the last crop gives"):
        Loader(LabelAssembly(arrays(), COLOUR, (RandomCrop((5, 5)),)), batch_size=1)
    with pytest.raises(ConvatlasError, match="no images"):
        Loader(LabelAssembly(arrays(0), COLOUR), batch_size=1)


def test_interrupted_decoding_drops_nothing(photos: FileSplit) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Loader(LabelAssembly(photos, COLOUR), batch_size=2, on_progress=interrupt)
    assert len(photos) == 9


@pytest.mark.data
def test_mnist_is_padded_into_lenets_input(data_root: Path) -> None:
    data = load("mnist", root=data_root)
    preprocessing = default_preprocessing(card("lenet5", 1, 32, 32), data.train)
    batch = next(Loader(LabelAssembly(data.test, preprocessing), batch_size=64).epoch(0))
    assert batch.images.shape == (64, 1, 32, 32)
    inner = (batch.images[:, :, 2:30, 2:30] + 0.1) * 255 / 1.275
    assert torch.allclose(inner[3, 0], data.test.read(3)[0].float(), atol=1e-2)
    assert torch.allclose(batch.images[:, :, :2], torch.tensor(-0.1))


@pytest.mark.data
def test_cifar_jpegs_are_decoded_once_into_memory(data_root: Path) -> None:
    data = load(str(data_root / "cifar10_jpeg_test.npz"), test_fraction=0.05)
    preprocessing = default_preprocessing(card("cifar_resnet20", 3, 32, 32), data.test)
    loader = Loader(LabelAssembly(data.test, preprocessing, (HorizontalFlip(),)), batch_size=128, shuffle=True)
    assert loader.in_memory
    images, _, _ = gather(loader)
    assert images.shape == (500, 3, 32, 32)
    assert images.mean((0, 2, 3)).abs().max() < 1e-3  # mean and std are of these images
