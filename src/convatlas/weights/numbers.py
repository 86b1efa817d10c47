"""Tensors as a network takes them: dense and with values; what is no finite number is named."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from convatlas.data.limits import check_unpacked
from convatlas.errors import ConvatlasError

_LISTED = 4


def plain_numbers(tensors: Mapping[str, Tensor], source: object) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Detached dense tensors, and what became of those that were something else, in words.

    Quantised values come as float32, sparse ones dense; half, double and bfloat16 stay as they are.

    Raises:
        ConvatlasError: they take more bytes than the limit where they are stored in fewer, or have no values.
    """
    empty = [name for name, tensor in tensors.items() if tensor.is_meta]
    if empty:
        raise ConvatlasError(f"weights {source} hold shapes without values in {_some(empty)} (tensors of device meta)")
    stored = {
        storage.data_ptr(): storage.nbytes() for storage in map(_storage, tensors.values()) if storage is not None
    }
    taken = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    check_unpacked(taken, f"weights {source}", sum(stored.values()))  # strides may repeat what is stored
    plain: dict[str, Tensor] = {}
    quantised, sparse = [], []
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        if tensor.is_quantized:
            quantised.append(name)
            tensor = tensor.dequantize()
        if tensor.layout != torch.strided:
            sparse.append(name)
            tensor = _dense(tensor, name, source)
        plain[name] = tensor
    notes = [f"quantised values became float32 in {_some(quantised)}"] if quantised else []
    notes += [f"sparse values became dense in {_some(sparse)}"] if sparse else []
    return plain, tuple(notes)


def not_finite(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Of tensors with values that are NaN or infinite: how many."""
    counts = {}
    for name, tensor in tensors.items():
        if (tensor.is_floating_point() or tensor.is_complex()) and not tensor.is_meta:
            values = tensor if tensor.element_size() > 1 else tensor.float()  # of 8 bits
            count = tensor.numel() - int(torch.isfinite(values).sum())
            if count:
                counts[name] = count
    return counts


def check_finite(tensors: Mapping[str, Tensor], source: object) -> None:
    """Raises ConvatlasError that names the tensors with NaN or infinite values, if there are any."""
    counts = not_finite(tensors)
    if counts:
        parts = [f"{name} ({count:,} of {tensors[name].numel():,})" for name, count in counts.items()]
        raise ConvatlasError(
            f"{source} are not finite numbers: NaN or infinite in {_some(parts)}; the training that made them "
            "diverged, "
            "or the file is damaged"
        )


def _storage(tensor: Tensor) -> torch.UntypedStorage | None:
    return tensor.untyped_storage() if tensor.layout == torch.strided else None


def _dense(tensor: Tensor, name: str, source: object) -> Tensor:
    try:
        return tensor.to_dense()
    except RuntimeError as error:
        raise ConvatlasError(f"weights {source} can't be read: {name} is a damaged sparse tensor") from error


def _some(names: Iterable[str]) -> str:
    listed = [name if name.isprintable() else name.encode("unicode_escape").decode("ascii") for name in names]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return f"{', '.join(listed[:_LISTED])}{more}"
