"""Deep Compression: pruning, sharing and codes by hand; the released weights; the command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convatlas import cli, data, registry, weights
from convatlas.data import decode, normalise, prepare
from convatlas.errors import ConvatlasError, UsageError
from convatlas.weights.compress import Retraining, prune, share, with_tensors
from foreign import random_net


def test_the_smallest_go() -> None:
    values = np.array([[0.5, -0.1], [-2.0, 0.2]], np.float32)
    assert prune(values, 0.5).tolist() == [[0.5, 0], [-2.0, 0]]
    assert prune(values, 0.0).tolist() == values.tolist()
    assert values[0, 1] == np.float32(-0.1), "the original changed"


def test_shared_weights_are_the_means_of_their_members() -> None:
    """Centroids start at 1 and 10; 1, 2, 3 belong to the first and 9, 10 to the second."""
    codebook, codes = share(np.array([1, 2, 0, 3, 9, 10], np.float32), 2)
    assert codebook.tolist() == [0, 2, 9.5]
    assert codes.tolist() == [1, 1, 0, 1, 2, 2]


def test_few_values_are_kept_exactly() -> None:
    codebook, codes = share(np.array([0.25, -0.5, 0.25, 0], np.float32), 255)
    assert codebook[codes].tolist() == [0.25, -0.5, 0.25, 0]
    assert share(np.zeros((2, 2), np.float32), 3)[1].tolist() == [[0, 0], [0, 0]]


def test_more_bits_are_nearer() -> None:
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    errors = []
    for bits in (1, 2, 4, 6, 8):
        codebook, codes = share(values, 2**bits - 1)
        assert len(codebook) <= 2**bits
        errors.append(float(np.square(codebook[codes] - values).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3


def test_a_network_comes_back_from_its_container(tmp_path: Path) -> None:
    net = random_net("caffe_lenet")
    compressed = weights.compress(net, sparsity=0.9, bits=4)
    (tmp_path / "lenet.net").write_bytes(compressed.data)
    again = weights.create("caffe_lenet", weights=tmp_path / "lenet.net")
    for name, value in again.state_dict().items():
        assert torch.equal(value, compressed.tensors[name])
        if name.endswith("weight"):
            original = net.get_parameter(name).detach()
            assert value.unique().numel() <= 16
            assert (value == 0).float().mean() == pytest.approx(0.9, abs=0.01)
            large = original.abs() > original.abs().quantile(0.95) if original.numel() < 1e6 else original.abs() > 10
            assert torch.equal(value[large].sign(), original[large].sign())
        else:
            assert torch.equal(value, net.get_parameter(name))
    total = sum(layer.stored_bytes for layer in compressed.layers)
    assert total == len(compressed.data)
    assert sum(layer.huffman_bytes for layer in compressed.layers) < total
    assert sum(layer.weights for layer in compressed.layers) == 430_500


def test_what_is_left_learns_and_what_is_pruned_stays_pruned() -> None:
    digits = data.load("digits")
    preprocessing = data.default_preprocessing(registry.card("caffe_lenet"), digits.train)
    loader = data.Loader(data.LabelAssembly(digits.train, preprocessing), batch_size=128, shuffle=True)
    net = random_net("caffe_lenet")
    pruned = weights.compress(net, sparsity=0.8)
    learned = weights.compress(net, sparsity=0.8, retraining=Retraining(loader, epochs=2, learning_rate=0.01))
    batch = next(iter(loader.epoch(0)))
    losses = []
    for compressed in (pruned, learned):
        again = with_tensors(registry.build("caffe_lenet").eval(), compressed.tensors)
        with torch.no_grad():
            losses.append(F.cross_entropy(again(batch.images), batch.labels).item())
    assert losses[1] < losses[0] / 2
    for name, value in pruned.tensors.items():
        if name.endswith("weight"):
            assert not learned.tensors[name][value == 0].any()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), random_net("caffe_lenet").parameters(), strict=True))


def test_wrong_arguments_are_named() -> None:
    net = random_net("caffe_lenet")
    for arguments, reason in (({"sparsity": 1.0}, "sparsity is 1.0"), ({"sparsity": 0.5, "bits": 9}, "bits is 9")):
        with pytest.raises(UsageError, match=reason):
            weights.compress(net, **arguments)
    with pytest.raises(ConvatlasError, match="lacks biases"):
        weights.compress(random_net("cifar_resnet20"), sparsity=0.5)


def test_the_command(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "lenet.net"
    assert cli.main(["weights", "compress", str(run_folder), "--out", str(out), "--sparsity", "0.8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert out.stat().st_size == sum(layer["stored_bytes"] for layer in found["layers"])
    assert len(found["top1_error"]) == 2
    coded = out.with_suffix(".huff")
    assert cli.main(["weights", "compress", str(run_folder), "--out", str(coded), "--sparsity", "0.8"]) == 0
    size = coded.stat().st_size
    assert size == found["huffman_file_bytes"]
    assert f"{size:,} B" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("all"))
    ours = tmp_path / "lenet.safetensors"
    assert cli.main(["weights", "import", str(coded), "--out", str(ours)]) == 0
    assert weights.read_card(ours) == weights.read_card(coded)
    assert weights.read_card(ours)["classes"] == list("0123456789")
    tensors = weights.create("caffe_lenet", weights=out).state_dict()
    for file in (coded, ours):
        again = weights.create("caffe_lenet", weights=file).state_dict()
        assert all(torch.equal(again[name], value) for name, value in tensors.items())
    capsys.readouterr()
    assert cli.main(["weights", "compress", str(run_folder), "--out", str(tmp_path / "x.pth")]) == 2
    assert cli.main(["weights", "compress", str(run_folder), "--out", str(out), "--retrain", "1"]) == 2
    assert "expected images to learn from" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["squeezenet_v1_0_caffe_pad1", pytest.param("squeezenet_v1_0", marks=pytest.mark.slow)]
)
def test_the_released_container_knows_photographs(data_root: Path, name: str) -> None:
    file = data_root / "weights" / "squeezenet1_0_deep_compression.net"
    card = weights.read_card(file, name)
    assert card is not None
    preprocessing = weights.preprocessing_of(card)
    assert preprocessing is not None
    net = weights.create(name, weights=file).eval()
    with open(data_root / "imagenet_classes.tsv", encoding="utf-8") as table:
        index = {row["wnid"]: int(row["index"]) for row in csv.DictReader(table, delimiter="\t")}
    paths = sorted((data_root / "imagenet100").glob("n*.*"))
    images = torch.stack([prepare(decode(path), preprocessing) for path in paths])
    labels = torch.tensor([index[path.name.split("_")[0]] for path in paths])
    with torch.inference_mode():
        logits = torch.cat([net(normalise(batch, preprocessing)) for batch in images.split(20)])
    best = logits.topk(5).indices == labels[:, None]
    assert len(paths) == 100
    assert best[:, 0].float().mean() >= 0.55
    assert best.any(1).float().mean() >= 0.78
