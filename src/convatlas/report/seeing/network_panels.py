"""The methods that show a network rather than one image."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from convatlas import weights
from convatlas.errors import UsageError
from convatlas.inference import Source
from convatlas.report.image_uris import as_array
from convatlas.report.seeing.filter_panels import filter_statistics_panel, filters_panel
from convatlas.report.seeing.panel import (
    Options,
    Panel,
    Pool,
    Subject,
    default_layer,
    opened,
    reads_bgr,
    together,
)
from convatlas.report.seeing.parts import correspondence_panel
from convatlas.report.seeing.pools import batches
from convatlas.report.tables import plural
from convatlas.visualise import deconvnet, evolution, invariance, lesion, maps, patches

MAPS = 6  # of a layer, where the user names none
WATCHED = 256  # images in which the strongest activation is looked for after each epoch
JUDGED = 1000  # images that a lesioned network is tried on
EQUIVARIANCE_LAYERS = 16


def _patches(source: Source, found: Sequence[Subject], options: Options) -> Panel:
    pool = opened(options)
    first = next(batches(source, pool, 1))[0]
    layer = options.layer or small_field_layer(source, first)
    best = patches.strongest(source.net, batches(source, pool), layer)
    alive = np.flatnonzero(best.activations[:, -1] > 0)
    if options.map is not None:
        deconvnet.strongest_unit(torch.from_numpy(best.activations), options.map, layer)  # a map that is there
        chosen = [options.map]
    else:
        chosen = [int(index) for index in alive[np.linspace(0, len(alive) - 1, min(MAPS, len(alive)), dtype=int)]]
    if not chosen:
        raise UsageError(f"layer {layer!r} never rises above zero in {pool.name}; expected another layer")
    field = patches.field_of(source.net, first, layer)
    shown = [_map_patches(source, pool, best, index, field) for index in chosen]
    low = int((best.activations[:, 0] <= 0).sum())
    rectified = best.lowest >= 0 or patches.is_rectified(source.net, first, layer)
    return Panel(
        "patches", f"Top-activating patches of {layer}",
        f"For some feature maps, what excites them most in {pool.name} ({plural(pool.count, 'image', 'images')}): "
        "right the patches that the strongest units see, left what the deconvnet says made them fire. "
        + silence(layer, low, len(best.activations), rectified),
        patches.figure(layer, shown, bgr=reads_bgr(source)),
        {"layer": layer, "maps": chosen, "pictures": pool.count, "silent_maps": low if rectified else 0,
         "never_positive_maps": low},
        {"activations": best.activations, "pictures": best.images, "positions": best.positions},
    )  # fmt: skip


def silence(layer: str, low: int, count: int, rectified: bool) -> str:
    """What may be said of feature maps that never rise above zero: only behind a rectifier are they silent."""
    if rectified:
        return f"{low:,} of {plural(count, 'feature map is', 'feature maps are')} silent for every image."
    never = f"; {low:,} of {count:,} never rise above zero" if low else ""
    return f"Behind {layer} stands no rectifier, so that no feature map is silent{never}."


def _map_patches(
    source: Source, pool: Pool, best: patches.Strongest, index: int, field: patches.ReceptiveField | None
) -> patches.MapPatches:
    indices = [int(i) for i in best.images[index]]
    few = replace(pool, count=len(indices), read=lambda i: pool.read(indices[i]))
    x = torch.cat([x for x, _ in batches(source, few)])
    units = [(index, int(y), int(column)) for y, column in best.positions[index]]
    signals = deconvnet.project_each(source.net, x, best.layer, units)
    regions = [patches.region(field, unit[1:], x.shape[2:]) for unit in units]
    read = [few.read(i) for i in range(few.count)]
    images = [as_array(image).astype(np.float32) / np.float32(255) for image in read if isinstance(image, Tensor)]
    return patches.MapPatches(
        index, best.activations[index],
        [image[at.rows, at.columns] for image, at in zip(images, regions, strict=True)],
        [signal[:, at.rows, at.columns] for signal, at in zip(signals, regions, strict=True)],
    )  # fmt: skip


def _invariance(source: Source, found: Sequence[Subject], options: Options) -> Panel:
    x = together(found)
    first = next(name for name, module in maps.rows(source.net) if any(True for _ in module.parameters()))
    layers = [first, options.layer or default_layer(source, x[:1])]
    targets = [subject.target for subject in found]
    seen = [invariance.curves(source.net, x, targets, layers, motion=motion) for motion in invariance.MOTIONS]
    return Panel(
        "invariance", "Moving the image",
        f"How far the features of {layers[0]} and {layers[1]} go from those of the image as it stands, in units of "
        f"their own size, and the probability of the class; {plural(len(found), 'image', 'images')} (grey), their "
        "mean and deviation.",
        invariance.figure(seen),
        {"layers": layers, "curves": [
            {"motion": one.motion, "amounts": list(one.amounts), "probabilities": one.probabilities.tolist(),
             "distances": {layer: values.tolist() for layer, values in one.distances.items()}} for one in seen
        ]},
    )  # fmt: skip


def _equivariance(source: Source, found: Sequence[Subject], options: Options) -> Panel:
    x = together(found)
    shapes = {name: values.shape for name, values in maps.feature_maps(source.net, x[:1])}
    layers = [name for name, _ in maps.rows(source.net) if len(shapes.get(name, ())) == 3 and max(shapes[name][1:]) > 1]
    if not layers:
        raise UsageError(f"{source.name} has no layer with maps; expected a convolutional network")
    layers = layers[:: -(-len(layers) // EQUIVARIANCE_LAYERS)]
    shifts = [shift for shift in (1, 2, 4, 8, 16) if shift <= x.shape[2] // 4]
    seen = invariance.equivariance(source.net, x, layers, shifts=shifts)
    return Panel(
        "equivariance", "Shifting the image, layer by layer",
        "How much the feature maps change when the image is shifted: where they stand (0 would be invariant), what "
        "is left of the change when the maps are shifted along (0 is equivariant), and the change of their means.",
        invariance.equivariance_figure(seen),
        {"shifts": shifts, "layers": [
            {"layer": one.layer, "moved": one.moved.mean(axis=0).tolist(),
             "followed": one.followed.mean(axis=0).tolist(), "averaged": one.averaged.mean(axis=0).tolist()}
            for one in seen
        ]},
    )  # fmt: skip


def _ensemble(source: Source, found: Sequence[Subject], options: Options) -> Panel:
    pool = opened(options)
    pool = replace(pool, count=min(pool.count, JUDGED))
    parts = list(batches(source, pool, 100))
    net = source.net
    with torch.no_grad():
        own = [net(x).argmax(dim=1) for x, _ in parts]
    labels = own if pool.labels is None else [pool.labels[indices].to(own[0].device) for _, indices in parts]
    count = sum(len(x) for x, _ in parts)

    def error() -> float:
        with torch.no_grad():
            return sum(int((net(x).argmax(dim=1) != y).sum()) for (x, _), y in zip(parts, labels, strict=True)) / count

    seen = lesion.lesions(net, parts[0][0][:1], error)
    residual = len(seen.orders) > 0
    by_length = lesion.paths(net, parts[0][0][:32], labels[0][:32]) if residual else None
    truth = "the labels" if pool.labels is not None else "what the whole network says"
    return Panel(
        "ensemble", "Taking the network apart",
        f"The error against {truth} on {plural(count, 'image', 'images')} of {pool.name}: "
        + lesion_words(residual, by_length is not None),
        lesion.figure(seen, by_length),
        {"pictures": count, "against": truth, "intact": seen.intact, "parts": list(seen.parts),
         "without_one": seen.one.tolist(), "without_several": seen.several.tolist(),
         "kendalls_tau": seen.orders.tolist(), "reordered": seen.reordered.tolist(),
         "path_share": by_length.share.tolist() if by_length else None,
         "gradient_share": by_length.contribution.tolist() if by_length else None},
    )  # fmt: skip


def lesion_words(reordered: bool, by_length: bool) -> str:
    """What the figure of lesions shows: the last two panels are there only for a network of residual blocks."""
    panels = "without each part, and without several at random" if not reordered else (
        "without each part, without several at random, and with blocks in each other's place"
    )  # fmt: skip
    last = (
        " Last, the paths through the blocks by the number of residuals that they pass, and how much of the gradient "
        "comes by them." if by_length else ""
    )  # fmt: skip
    return f"{panels}. Dashed: the whole network.{last}"


def _evolution(source: Source, found: Sequence[Subject], options: Options) -> Panel:
    folder = source.run / "checkpoints" / "epochs" if source.run else None
    kept = sorted(folder.glob("*/weights.safetensors"), key=lambda path: int(path.parent.name)) if folder else []
    if not kept:
        raise UsageError("no weights of several epochs; expected a run that kept the weights of several")
    pool = opened(options)
    pool = replace(pool, count=min(pool.count, WATCHED))
    x = torch.cat([x for x, _ in batches(source, pool)])
    layer = options.layer or small_field_layer(source, x[:1])
    if options.map is None:
        best = patches.strongest(source.net, [(x, range(len(x)))], layer, count=1).activations[:, 0]
        chosen = sorted(np.argsort(-best, kind="stable")[:MAPS].tolist())
    else:
        chosen = [options.map]
    nets = ((int(path.parent.name), weights.create(source.name, weights=path).to(x.device)) for path in kept)
    seen = evolution.evolve(nets, x, layer, chosen)
    return Panel(
        "evolution", f"How {layer} came to be",
        f"The strongest activation of each feature map in {plural(len(x), 'image', 'images')} of {pool.name}, "
        "projected down, after several epochs. A sudden jump means that another image has taken over.",
        evolution.figure(seen, bgr=reads_bgr(source)),
        {"layer": layer, "maps": list(seen.maps), "epochs": list(seen.epochs),
         "activations": seen.activations.tolist(), "pictures": seen.images.tolist()},
        {"signals": seen.signals},
    )  # fmt: skip


def small_field_layer(source: Source, x: Tensor) -> str:
    """The last layer with maps whose units see at most half of the image's side; the last with maps otherwise."""
    last = default_layer(source, x)
    names = [name for name, module in maps.rows(source.net) if any(True for _ in module.parameters())]
    for name in reversed(names[: names.index(last) + 1]):
        field = patches.field_of(source.net, x, name)
        if field is not None and 2 * max(field.size) <= min(x.shape[2:]):
            return name
    return last


NETWORK_METHODS: dict[str, Callable[[Source, Sequence[Subject], Options], Panel]] = {
    "filters": filters_panel,
    "filterstats": filter_statistics_panel,
    "patches": _patches,
    "invariance": _invariance,
    "equivariance": _equivariance,
    "correspondence": correspondence_panel,
    "ensemble": _ensemble,
    "evolution": _evolution,
}
