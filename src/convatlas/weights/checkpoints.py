"""The state dict inside a checkpoint: found among what training keeps beside it, and taken out of its wrappers.

Wrappers are entries of a checkpoint ("state_dict", "model"), containers (`DataParallel`, `AveragedModel`, compiled and
Lightning modules) whose prefix all names carry, and whole modules that were pickled. Averaged weights beside raw ones
are the ones that their authors report, as in timm, and are taken unless the caller asks for the others.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from convatlas.errors import ConvatlasError, UsageError
from convatlas.weights.prefixes import strip_prefixes

AVERAGED, RAW = "averaged", "raw"
_MAX_DEPTH = 32
_MAX_VISITS = 100_000  # of containers, before those that were seen are left
_ENTRIES = frozenset((
    "state_dict", "model_state_dict", "model_state", "model", "model_dict", "net", "net_state_dict", "network",
    "network_state_dict", "module", "params", "weights", "state",
))  # fmt: skip
_AVERAGED = re.compile(r"(^|_)(ema|swa|averaged|polyak)(_|$)|(^|_)ema\d*$")
_TRAINING = re.compile(
    r"optim|sched|scaler|rng|random|callback|loops?$|hyper|^args$|^opts?$|config|cfg|criterion|(^|_)loss|metric|history"
    r"|^meta$|sampler|datamodule"
)


@dataclass
class _Choice:
    """What the caller asked for, and what has been said."""

    source: object
    take: str | None
    notes: list[str] = field(default_factory=list)


def unwrap(content: object, source: object, take: str | None = None) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The named tensors of one network, and what was done to find them, in words.

    Args:
        content: what a checkpoint holds.
        source: what errors name.
        take: "averaged" or "raw" where both are there (None: averaged), or the name of an entry.

    Raises:
        UsageError: there is no such entry as `take`.
        ConvatlasError: no named tensors, or several networks and no `take`.
    """
    choice = _Choice(source, take)
    tensors = _flatten(_descend(content, choice))
    if not tensors:
        raise ConvatlasError(f"weights {source} hold no named tensors; expected a state dict")
    tensors, stripped = strip_prefixes(tensors)
    choice.notes += stripped
    tensors = _choose_by_name(tensors, choice)
    tensors, stripped = strip_prefixes(tensors)
    choice.notes += stripped
    if choice.take not in (None, RAW):
        raise UsageError(f"take is {choice.take!r}, which weights {source} do not have; expected one of their entries"
                         f"{_listed(_entries(content))}")  # fmt: skip
    return tensors, tuple(choice.notes)


def _descend(content: object, choice: _Choice) -> object:
    """Down the entries of a checkpoint to the one that holds the network."""
    for _ in range(_MAX_DEPTH):
        entries = _entries(content)
        if _is_module(content) or not entries:
            return content
        if choice.take in entries:
            choice.notes.append(f"taken from its entry {choice.take}, as asked for")
            content, choice.take = entries[choice.take], None
            continue
        networks = {key: value for key, value in entries.items() if not _TRAINING.search(key)}
        raw = [key for key in networks if key in _ENTRIES]
        averaged = [key for key in networks if _AVERAGED.search(key) and _alike(networks[key], networks, raw)]
        if not raw and not averaged:
            inner = list(networks.values())
            if len(inner) == 1 and any(key in _ENTRIES or _AVERAGED.search(key) for key in _entries(inner[0])):
                content = inner[0]
                continue
            if len(networks) == len(entries):
                return content
            return {key: value for key, value in _items(content) if key not in entries or key in networks}
        name = _pick(raw, averaged, choice)
        content = entries[name]
    return content


def _pick(raw: list[str], averaged: list[str], choice: _Choice) -> str:
    """One of the entries that hold a network."""
    candidates, others = (averaged, raw) if averaged and choice.take != RAW else (raw, averaged)
    if not candidates:  # only averaged ones, and the raw asked for
        raise UsageError(f"take is {choice.take!r}; weights {choice.source} have only {', '.join(averaged)}")
    if len(candidates) > 1:
        raise ConvatlasError(
            f"weights {choice.source} hold several networks: {', '.join(candidates)}; name the one to take"
        )
    if candidates is averaged:
        beside = f"; the raw ones are in {', '.join(others)}" if others else ""
        choice.notes.append(f"taken from its entry {candidates[0]}: averaged weights{beside}")
        choice.take = None if choice.take == AVERAGED else choice.take
    else:
        beside = f"; averaged ones are in {', '.join(others)}" if others else ""
        choice.notes.append(f"taken from its entry {candidates[0]}{beside}")
    return candidates[0]


def _alike(candidate: object, networks: Mapping[str, object], raw: list[str]) -> bool:
    """Whether averaged weights have names, and where raw ones are beside them the same for the most part."""
    names = strip_prefixes(_flatten(candidate))[0].keys()
    if not names:
        return False
    own = [strip_prefixes(_flatten(networks[key]))[0].keys() for key in raw]
    return not own or any(len(names & others) * 2 >= len(names) for others in own)


def _choose_by_name(tensors: dict[str, Tensor], choice: _Choice) -> dict[str, Tensor]:
    """Of one dictionary with both: "model.conv" and "model_ema.conv", or "conv.weight" and "ema_conv_weight"."""
    flat = {name.replace(".", "_"): name for name in tensors}
    shadows = {name: flat[name[4:]] for name in tensors if name.startswith("ema_") and name[4:] in flat}
    if shadows:
        taken = choice.take != RAW
        kept = {shadows.get(name, name): value for name, value in tensors.items() if name not in shadows.values()}
        choice.notes.append(f"{'taken' if taken else 'left out'}: averaged weights, {len(shadows)} names with ema_")
        choice.take = None if choice.take == AVERAGED else choice.take
        return kept if taken else {name: value for name, value in tensors.items() if name not in shadows}
    firsts = dict.fromkeys(name.partition(".")[0] for name in tensors if "." in name)
    groups = {first: {n[len(first) + 1 :]: t for n, t in tensors.items() if n.startswith(f"{first}.")}
              for first in firsts if first in _ENTRIES or _AVERAGED.search(first) or first == choice.take}  # fmt: skip
    if choice.take in groups:
        choice.notes.append(f"taken: what is named {choice.take}., as asked for")
        name, choice.take = choice.take, None
        return groups[name]
    raw = [first for first in groups if first in _ENTRIES]
    averaged = [first for first in groups if first not in raw and _alike(groups[first], groups, raw)]
    if not (raw and averaged):
        return tensors
    rest = [name for name in tensors if name.partition(".")[0] not in (*raw, *averaged)]
    if rest:
        choice.notes.append(f"without {', '.join(rest[:4])}, which are of neither")
    return groups[_pick(raw, averaged, choice)]


def _entries(content: object) -> dict[str, object]:
    """The entries of a checkpoint with tensors somewhere below them, but no tensors themselves."""
    return {key: value for key, value in _items(content) if not isinstance(value, Tensor) and _holds_tensors(value)}


def _holds_tensors(value: object) -> bool:
    return next(_leaves(value), None) is not None


def _flatten(content: object) -> dict[str, Tensor]:
    """Nested dictionaries as one, with their keys joined by dots."""
    return dict(_leaves(content))


def _leaves(content: object) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all tensors below; what contains itself, or lies very deep, is left."""
    stack: list[tuple[str, object, tuple[int, ...]]] = [("", content, ())]
    seen: set[int] = set()
    visits = 0
    while stack:
        prefix, value, above = stack.pop()
        if isinstance(value, Tensor):
            if prefix:
                yield prefix, value
            continue
        visits += 1  # dictionaries that share their entries may have more paths than anyone can follow
        if id(value) in above or len(above) >= _MAX_DEPTH or (visits > _MAX_VISITS and id(value) in seen):
            continue
        seen.add(id(value))
        inner = [(f"{prefix}.{key}" if prefix else key, item) for key, item in _items(value)]
        stack += [(name, item, (*above, id(value))) for name, item in reversed(inner)]


def _items(value: object) -> list[tuple[str, object]]:
    """The entries of a dictionary, of a list of dictionaries, and the tensors and children of a pickled module."""
    if isinstance(value, OrderedDict) and vars(value) and not value:  # an object that was left inert
        fields = vars(value)
        if not _is_module(value):
            return [(key, item) for key, item in fields.items() if isinstance(key, str)]
        parts = [fields.get(part) for part in ("_parameters", "_buffers", "_modules")]
        transient = fields.get("_non_persistent_buffers_set")
        absent = transient if isinstance(transient, set) else set()
        return [(key, item) for part in parts for key, item in _items(part) if key not in absent]
    if isinstance(value, Mapping):
        return [(key, item) for key, item in value.items() if isinstance(key, str)]
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
        return [(str(index), item) for index, item in enumerate(value)]
    return []


def _is_module(value: object) -> bool:
    return isinstance(value, OrderedDict) and {"_parameters", "_modules"} <= vars(value).keys()


def _listed(entries: Mapping[str, object]) -> str:
    return f": {', '.join(entries)}" if entries else ""
