"""The panels of the weights themselves."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from convatlas.inference import Source
from convatlas.report.seeing.panel import Options, Panel, Subject, opened, reads_bgr
from convatlas.report.seeing.pools import batches
from convatlas.report.tables import plural
from convatlas.visualise import filter_statistics, filters

EXCITED = 1000  # images in which a unit may show that it lives


def filters_panel(source: Source, found: Sequence[Subject], options: Options) -> Panel:
    layer, kernels, stride = first_layer(source)
    folded = filters.aliased_shares(kernels, stride)
    return Panel(
        "filters", f"Filters of {layer}",
        f"{filters.caption(layer, kernels)} {folding(stride, folded)}",
        filters.figure(kernels[:, ::-1] if reads_bgr(source) and kernels.shape[1] == 3 else kernels),
        {"layer": layer, "shape": list(kernels.shape), "stride": list(stride), "aliased_shares": folded.tolist(),
         "norms": np.sqrt((kernels**2).sum(axis=(1, 2, 3))).tolist()},
        {"weights": kernels},
    )  # fmt: skip


def filter_statistics_panel(source: Source, found: Sequence[Subject], options: Options) -> Panel:
    layer, kernels, stride = first_layer(source)
    seen = filter_statistics.spectrum(kernels, stride)
    pool = opened(options)
    pool = replace(pool, count=min(pool.count, EXCITED))
    silent = filter_statistics.never_positive(source.net, (x for x, _ in batches(source, pool)))
    small = filter_statistics.near_zero(source.net)
    dead, rectified = sum(len(one.dead) for one in silent), sum(one.units for one in silent)
    rectifiers = (
        f"Last, by rectifier: of {rectified:,} rectified feature maps and units, {dead:,} stay silent for "
        f"{plural(pool.count, 'image', 'images')} of {pool.name}."
        if silent else "It has no rectifier that gives zeros, so that none of its units can be silent."
    )  # fmt: skip
    return Panel(
        "filterstats", f"Statistics of the filters, {layer} and on",
        f"First, the frequencies that the filters of {layer} look for, and in the white frame those that the stride "
        f"keeps apart. {folding(stride, seen.aliased)} Then each filter (grey) and their mean, by distance "
        "from zero frequency. "
        f"{rectifiers} Weights near zero (a norm below 1% of the layer's median): "
        f"{plural(sum(len(one.dead) for one in small), 'filter', 'filters')} of the whole network.",
        filter_statistics.figure(seen, silent),
        {"layer": layer, "stride": list(stride), "aliased_shares": seen.aliased.tolist(),
         "frequencies_cycles_per_pixel": seen.radii.tolist(), "energy_shares": seen.radial.mean(axis=0).tolist(),
         "pictures": pool.count, "never_positive": [as_row(one) for one in silent],
         "weights_near_zero": [as_row(one) for one in small]},
        {"spectrum": seen.energy, "radial": seen.radial},
        table=(
            ("layer", "units", "weights near zero", "never positive"),
            *((one.layer, str(one.units), str(len(one.dead)), "") for one in small),
            *((one.layer, str(one.units), "", str(len(one.dead))) for one in silent),
        ),
    )  # fmt: skip


def folding(stride: tuple[int, int], shares: filters.Array) -> str:
    if max(stride) == 1:
        return "A stride of 1 folds nothing over."
    return f"A stride of {max(stride)} folds over {100 * shares.mean():.0f}% of their energy, the mean of all filters."


def first_layer(source: Source) -> tuple[str, filters.Array, tuple[int, int]]:
    layer, kernels = filters.first_layer_filters(source.net)
    return layer, kernels, getattr(source.net.get_submodule(layer), "stride", (1, 1))


def as_row(one: filter_statistics.Dead) -> dict[str, object]:
    return {"layer": one.layer, "units": one.units, "dead": list(one.dead)}
