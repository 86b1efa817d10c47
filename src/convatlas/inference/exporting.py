"""Trained networks as files for other programs: ONNX, torch.export and TorchScript, with their card inside.

Every file is run before it gets its name, and compared with the network.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from convatlas import weights
from convatlas.blocks.unpool import SwitchPool2d
from convatlas.data import normalise
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.engines.backends import require, run_in_onnx_runtime
from convatlas.inference.engines.build import TOLERANCE
from convatlas.inference.engines.fused import fuse
from convatlas.inference.engines.graph import OPSET, quietly, to_onnx
from convatlas.inference.exported import KEY, ExportedDetector, ExportedNet, WithNormalisation
from convatlas.inference.exporting_detectors import WithSuppression, compare_detections, detector_to_onnx
from convatlas.inference.interface import interface_of
from convatlas.inference.programs import program_of
from convatlas.inference.trained import TrainedNetwork
from convatlas.io import replace_file, write_file
from convatlas.records import Detects, Task

Format = Literal["onnx", "torch-export", "torchscript"]
FORMATS: dict[str, str] = {"onnx": ".onnx", "torch-export": ".pt2", "torchscript": ".pt"}
SWITCHED = 1e-2  # part of the pixels that may get another class, where switches flip
EXTRA_FILE = "convatlas.json"  # of a torch.export program and of TorchScript


@dataclass(frozen=True)
class Exported:
    """A file that was written, run and compared."""

    path: Path
    format: str
    opset: int | None  # of ONNX
    size_bytes: int
    difference: float  # of its logits, as a part of the largest, or the part of a detector's boxes; NaN for int8
    classes_differ: float | None = None  # of a network with switches: the part of the pixels
    program: Path | None = None  # beside an ONNX file: what runs it without torch and this package


def export(
    source: TrainedNetwork,
    path: str | Path,
    *,
    format: Format = "onnx",  # noqa: A002 - the word for it
    pixels: bool = False,
    licence: str | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Exported:
    """Writes a trained network for any batch size, completely or not at all, and beside ONNX a program that runs it.

    A detector's file takes one image at a time and gives `boxes`, `labels` and `scores`, suppression done.

    Args:
        source: from `open_source`.
        path: its ending must be that of the format: .onnx, .pt2 or .pt.
        format: "onnx" (normalisations folded), "torch-export" (a program for torch.export.load) or "torchscript".
        pixels: put the normalisation and the channel order inside, so that uint8 RGB images of the right size go in.
        licence: of the weights, for the card.
        thresholds: arguments of a detector's `detect`, which are then fixed; None: the paper's.

    Raises:
        UsageError: an unknown format, another ending, or thresholds that the network does not have.
        ConvatlasError: a package is missing, the network can't be expressed, or the file computes something else.
    """
    path = Path(path)
    check_format(format, path)
    net = source.net.cpu().eval()
    if isinstance(net, (ExportedNet, ExportedDetector)):
        raise UsageError(f"{source.name} comes from an exported file; expected a run folder or a network with weights")
    card = card_of(source, pixels=pixels, licence=licence)
    shape = (source.preprocessing.channels, *source.preprocessing.size)
    detects = isinstance(net, Detects)
    if detects:
        if format != "onnx":
            raise UsageError(f"format is {format!r}; expected onnx, which knows suppression, for a detector")
        if source.card.traits.searches_regions:
            raise ConvatlasError(
                f"{source.name} takes its regions from selective search, which no file can hold; expected a detector "
                "that finds its regions itself"
            )
        net = WithSuppression(net, thresholds or {}).eval()
    elif thresholds:
        raise UsageError(f"thresholds are {dict(thresholds)}; expected none, as {source.name} is no detector")
    whole = WithNormalisation(net, source.preprocessing).eval() if pixels else net
    dtype = torch.uint8 if pixels else torch.float32
    classes_differ = None
    with replace_file(path) as temporary:
        if detects:
            temporary.write_bytes(with_card(detector_to_onnx(whole, shape, dtype=dtype), card))
        elif format == "onnx":
            folded = fuse(net, shape, batch_size=1, pack=False)
            folded = WithNormalisation(folded, source.preprocessing).eval() if pixels else folded
            temporary.write_bytes(with_card(to_onnx(folded, shape, dtype=dtype), card))
        else:
            _WRITERS[format](whole, torch.zeros(2, *shape, dtype=dtype), card, temporary)
        if detects:
            difference = compare_detections(temporary.read_bytes(), whole, noise(source, pixels=pixels))
        else:
            difference, classes_differ = compare(_read_back(temporary, format), whole, source, pixels=pixels)
        program = write_program(path, source.task) if format == "onnx" else None
    opset = OPSET if format == "onnx" else None
    return Exported(path, format, opset, path.stat().st_size, difference, classes_differ, program)


def check_format(name: str, path: Path) -> None:
    """Raises UsageError for an unknown format, or a path with another ending."""
    if name not in FORMATS:
        raise UsageError(f"format is {name!r}; expected {', '.join(FORMATS)}")
    if path.suffix != FORMATS[name]:
        raise UsageError(f"out is {str(path)!r}; expected a name that ends in {FORMATS[name]} for format {name}")


def card_of(source: TrainedNetwork, *, pixels: bool, licence: str | None, int8: bool = False) -> dict[str, object]:
    """The card of an exported file: that of weights, the kind of input, and the licence."""
    channels = source.preprocessing.channels
    card = weights.make_card(
        source.name,
        num_classes=len(source.classes),
        in_channels=channels,
        classes=source.classes if source.named_classes else None,
        preprocessing=source.preprocessing,
    )
    if source.colours is not None:
        card["colours"] = [list(colour) for colour in source.colours]
    kind = "uint8" if pixels else "normalised"
    return card | {
        "input": kind, "int8": int8, "licence": licence, "interface": interface_of(source, pixels=pixels)
    }  # fmt: skip


def write_program(path: Path, task: Task) -> Path:
    """Writes `<name>_predict.py` beside an ONNX file and gives its path.

    Raises:
        ConvatlasError: there is another program of that name.
    """
    program, text = path.with_name(f"{path.stem}_predict.py"), program_of(task)
    if program.exists() and not program.read_text(encoding="utf-8", errors="replace").startswith(text.splitlines()[0]):
        raise ConvatlasError(f"{program} exists already and is not the program of an export; move it away")
    write_file(program, text)
    return program


def with_card(model: bytes, card: dict[str, object]) -> bytes:
    """An ONNX model with the card in its metadata."""
    import onnx

    loaded = onnx.load_model_from_string(model)
    onnx.helper.set_model_props(loaded, {KEY: json.dumps(card, ensure_ascii=False)})
    loaded.producer_name = "convatlas"
    return loaded.SerializeToString()


def compare(
    run: Callable[[Tensor], Tensor], net: nn.Module, source: TrainedNetwork, *, pixels: bool
) -> tuple[float, float | None]:
    """The largest difference of logits on noise in batches of 1 and 3, as a part of the largest logit.

    Where two values of a pooling window are equal but for their last bits, a switch may point to either, and the
    logits near it change much. A network with switches is therefore held to its classes: the second value is the
    largest part of pixels that get another one.

    Raises:
        ConvatlasError: they are more than is allowed.
    """
    batch = noise(source, pixels=pixels)
    switches = any(isinstance(layer, SwitchPool2d) for layer in net.modules())
    difference, others = 0.0, 0.0
    with torch.inference_mode():
        for part in (batch[:1], batch):
            expected, found = net(part), run(part)
            scale = expected.abs().max().clamp_min(1)
            difference = max(difference, ((found - expected).abs().max() / scale).item())
            others = max(others, (found.argmax(1) != expected.argmax(1)).double().mean().item())
    if switches:
        if not others <= SWITCHED:
            raise ConvatlasError(f"the exported file gives {100 * others:.2g}% of the pixels another class")
        return difference, others
    if not difference <= TOLERANCE:
        raise ConvatlasError(f"the exported file differs from the network by {difference:.1g} of its largest logit")
    return difference, None


def noise(source: TrainedNetwork, *, pixels: bool) -> Tensor:
    """Three inputs, (3, C, H, W): uint8, or normalised."""
    shape = (source.preprocessing.channels, *source.preprocessing.size)
    values = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return values if pixels else normalise(values, source.preprocessing)


def _write_program(net: nn.Module, sample: Tensor, card: dict[str, object], path: Path) -> None:
    with quietly():
        program = torch.export.export(net, (sample,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
        torch.export.save(program, path, extra_files={EXTRA_FILE: json.dumps(card, ensure_ascii=False)})


def _write_torchscript(net: nn.Module, sample: Tensor, card: dict[str, object], path: Path) -> None:
    with quietly(), torch.no_grad():
        traced = torch.jit.trace(net, sample)
        torch.jit.save(traced, str(path), _extra_files={EXTRA_FILE: json.dumps(card, ensure_ascii=False)})


_WRITERS = {"torch-export": _write_program, "torchscript": _write_torchscript}


def _read_back(path: Path, name: str) -> Callable[[Tensor], Tensor]:
    if name == "onnx":
        require("onnxruntime")
        return run_in_onnx_runtime(path.read_bytes())
    with quietly():
        return torch.export.load(path).module() if name == "torch-export" else torch.jit.load(str(path))
