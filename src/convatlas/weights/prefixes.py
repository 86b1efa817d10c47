"""What wrappers add to the names of a state dict, taken off again in any nesting: `module.`, `_orig_mod.` and so on."""

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value")

# Containers that have one child of this name and nothing else; no network calls a layer so.
_TRANSPARENT = frozenset(
    ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_ddp_module")
)
_CHILD = "module"  # of DataParallel and AveragedModel, at any depth
# under which a program keeps its network
_ATTRIBUTES = frozenset((
    "model", "net", "network", "state_dict", "model_state_dict", "model_state", "ema", "model_ema", "ema_model",
    "state_dict_ema", "params_ema", "params", "averaged_model", "swa_model", "weights",
))  # fmt: skip
_BESIDE = ("criterion", "loss", "metric", "accuracy", "train_", "val_", "valid_", "test_")  # of Lightning's modules
_COUNTER = "n_averaged"


def strip_prefixes(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the names that the network itself gives them, and what was taken off, in words."""
    names: dict[str, tuple[str, ...]] = {name: tuple(name.split(".")) for name in tensors}
    notes: list[str] = []
    before = None
    while before != names:
        before = dict(names)
        names = _without_transparent(names, notes)
        names = _without_counters(names, notes)
        names = _without_children(names, notes)
        names = _without_attribute(names, notes)
    renamed = {".".join(path): tensors[name] for name, path in names.items()}
    if len(renamed) != len(names):  # two of a name: neither may be lost
        return dict(tensors), []
    return renamed, list(dict.fromkeys(notes))


Names = dict[str, tuple[str, ...]]  # the file's name -> what is left of it


def _without_transparent(names: Names, notes: list[str]) -> Names:
    found = {part for path in names.values() for part in path[:-1] if part in _TRANSPARENT}
    notes += [f"names without {part}." for part in sorted(found)]
    return {name: (*(p for p in path[:-1] if p not in _TRANSPARENT), path[-1]) for name, path in names.items()}


def _without_counters(names: Names, notes: list[str]) -> Names:
    """AveragedModel counts its updates."""
    kept = {name: path for name, path in names.items() if path[-1] != _COUNTER}
    if len(kept) < len(names):
        notes.append("without n_averaged, the number of averaged updates")
    return kept


def _without_children(names: Names, notes: list[str]) -> Names:
    """A container whose only child is called `module`, wherever it stands."""
    children: dict[tuple[str, ...], set[str]] = {}
    for path in names.values():
        for depth in range(len(path)):
            children.setdefault(path[:depth], set()).add(path[depth])
    lone = {prefix for prefix, inner in children.items() if inner == {_CHILD} and (*prefix, _CHILD) in children}
    if not lone:
        return names
    notes.append("names without module.")
    return {
        name: tuple(p for depth, p in enumerate(path) if p != _CHILD or path[:depth] not in lone)
        for name, path in names.items()
    }


def _without_attribute(names: Names, notes: list[str]) -> Names:
    """A program's attribute that all names begin with, but for those of losses and metrics beside it."""
    firsts = {path[0] for path in names.values() if len(path) > 1}
    holders = [first for first in firsts if first in _ATTRIBUTES]
    if len(holders) != 1:
        return names
    rest = {name: path for name, path in names.items() if path[0] != holders[0] or len(path) == 1}
    if not all(path[0].startswith(_BESIDE) for path in rest.values()):
        return names
    notes.append(f"names without {holders[0]}.")
    if rest:
        notes.append(f"without {', '.join(list(rest)[:4])}, which are not of the network")
    return {name: path[1:] for name, path in names.items() if name not in rest}
