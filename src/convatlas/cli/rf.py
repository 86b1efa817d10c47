"""`convatlas rf`: what a unit of a layer sees of the input."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.arguments import complete_network, make_parent, validate_output
from convatlas.cli.common import console, print_json, progress
from convatlas.cli.show import field_text, operation, parse_shape
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError
from convatlas.readable import shape
from convatlas.records import LayerRecord, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from convatlas.analysis.effective_field import EffectiveField
    from convatlas.analysis.receptive_field import ReceptiveField

PATHS_LISTED = 8
LAYERS = (Column("layer", style="cyan"), Column("operation", left_out=1), Column("output"), Column("field", right=True))


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RUN|NAME", autocompletion=complete_network, help="A run folder, or the name of a network."
        ),
    ],
    layer: Annotated[
        str | None,
        typer.Argument(metavar="LAYER", help="A layer or a block, as `convatlas show` names them; without, a list."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option(metavar="Y,X", help="Position of the unit in its map; by default the centre.")
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="C,H,W", help="Input shape. [default: published]")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Trained weights for a network's name, for --effective.")] = None,
    effective: Annotated[
        bool, typer.Option("--effective", help="Measure too how strongly each pixel moves the unit (takes a while).")
    ] = False,
    draws: Annotated[int, typer.Option(min=1, help="Random inputs for --effective.")] = 16,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the unit's field: .png, .svg or .pdf.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """The receptive field of a layer, and the exact pixels that one of its units sees.

    The field of a layer is that of a unit far from all edges, so it may be larger than the input; branches of different
    reach are listed. The pixels of one unit lie inside the input, and are what probing with not-a-number finds. The
    effective field is the unit's gradient over random inputs (Luo et al., 2016), with the weights that the network has.
    """
    from convatlas.analysis.reach import reach
    from convatlas.analysis.receptive_field import path_fields, receptive_fields
    from convatlas.analysis.trace import find_layer, trace_network

    validate_output(figure, "--figure", (".png", ".svg", ".pdf"))
    if layer is None and (unit is not None or effective or figure is not None):
        raise UsageError(
            "LAYER is missing; expected one for --unit, --effective and --figure, as `convatlas show` names"
        )
    net, network = opened(name, weights)
    wanted = None if input_shape is None else parse_shape(input_shape)
    records = trace_network(network, wanted)
    if layer is None:
        list_layers(network, records, json=json)
        return
    record = find_layer(records, layer)
    source = wanted or next(shape for r in records for i, shape in zip(r.inputs, r.input_shapes, strict=True) if i < 0)
    seen = reach(records, record.index)
    position = parse_unit(unit, seen.extents)
    region = seen.region(position)
    field = receptive_fields(records)[record.index]
    paths = path_fields(records, record.index)
    strength = None
    if effective:
        with progress("Measuring"):
            strength = measured(net, network, source, record, position, draws)
    if json:
        print_json(values(network, record, source, field, paths, position, region, strength, draws))
    else:
        for line in sentences(network, record, source, field, paths, position, region, strength, draws):
            console().print(line, markup=False)
    if figure is not None:
        draw(figure, network, record, position, region, strength)


def list_layers(network: str, records: "Sequence[LayerRecord]", *, json: bool) -> None:
    """The receptive field of each layer that has one name and one field."""
    from convatlas.analysis.receptive_field import receptive_fields

    fields = receptive_fields(records)
    if json:
        rows = [
            {"layer": record.name, "operation": operation(record), "output_shape": record.output_shape,
             "receptive_field": None if field is None else asdict(field)}
            for record, field in zip(records, fields, strict=True)
        ]  # fmt: skip
        print_json({"name": network, "layers": rows})
        return
    rows = [
        (record.name, operation(record), shape(record.output_shape), field_text(field))
        for record, field in zip(records, fields, strict=True)
    ]
    print_table(console(), LAYERS, rows)
    console().print(f"`convatlas rf {network} LAYER` tells more of one", markup=False)


def opened(name: str, weights: Path | None) -> tuple[Any, str]:
    """(a trained network or None, its registered name)"""
    from convatlas import registry

    if weights is None and not Path(name).is_dir():
        return None, registry.card(name).name
    from convatlas.inference import open_source

    source = open_source(name, weights)
    return source.net, source.name


def measured(
    net: Any, network: str, source: Shape, record: LayerRecord, position: tuple[int, ...], draws: int
) -> "EffectiveField":
    """The effective field; without trained weights, that of the paper's initialisation."""
    import torch

    from convatlas import registry
    from convatlas.analysis.effective_field import effective_field

    if net is None:
        torch.manual_seed(0)
        net = registry.build(network, in_channels=source[0])
    return effective_field(net, source, record.index, position, draws=draws)


def parse_unit(text: str | None, extents: tuple[int, ...]) -> tuple[int, ...]:
    """ "3,5" -> (3, 5); None is the centre."""
    if text is None:
        return tuple(extent // 2 for extent in extents)
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != len(extents) or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--unit is {text!r}; expected {len(extents)} numbers such as 3,5")
    unit = tuple(map(int, parts))
    if any(place >= extent for place, extent in zip(unit, extents, strict=True)):
        raise UsageError(f"--unit is {text}; expected less than {','.join(map(str, extents))}, the layer's positions")
    return unit


def sentences(
    network: str,
    record: LayerRecord,
    source: Shape,
    field: "ReceptiveField | None",
    paths: tuple["ReceptiveField", ...],
    unit: tuple[int, ...],
    region: "NDArray[np.bool_]",
    strength: "EffectiveField | None",
    draws: int,
) -> list[str]:
    """What a person reads."""
    lines = [f"{network} {record.name}: {operation(record)}, {shape(record.output_shape)} from {shape(source)}"]
    if field is None:
        lines.append("its branches move on with different strides: no one size holds for all of its units")
    else:
        lines.append(f"field {plain(field)}")
    if len(paths) > 1:
        listed = [shape(path.size) for path in paths]
        some = listed if len(listed) <= PATHS_LISTED else [*listed[: PATHS_LISTED - 1], "...", listed[-1]]
        lines.append(f"{len(paths)} fields by the way through its branches: {', '.join(some)}")
    inside, all_pixels = int(region.sum()), region.size
    spans = [extent_of(region, axis) for axis in range(region.ndim)]
    names = ("rows", "columns") if region.ndim == 2 else tuple(f"axis {axis}:" for axis in range(region.ndim))
    where = " and ".join(f"{name} {first} to {last}" for name, (first, last) in zip(names, spans, strict=True))
    share = f"{inside:,} of the input's {all_pixels:,} pixels"
    lines.append(f"unit ({', '.join(map(str, unit))}) sees {share}: {where}" if inside else "the unit sees nothing")
    holes = 1
    for first, last in spans:
        holes *= last - first + 1
    if inside and holes > inside:
        lines.append(f"  and {holes - inside:,} pixels between them not at all")
    if strength is not None:
        sigma = shape(tuple(round(s, 1) for s in strength.sigma))  # type: ignore[arg-type]
        square = f"{strength.size:.1f} x {strength.size:.1f}"
        share = f"{100 * strength.size**region.ndim / max(inside, 1):.0f}%"
        lines.append(f"effective field {square} ({share} of what it sees), sigma {sigma}, over {draws} random inputs")
    return lines


def plain(field: "ReceptiveField") -> str:
    """ "14 x 14 pixels; the next unit's starts 2 x 2 pixels on, the first unit's at (0, 0)"."""
    start = ", ".join(map(str, field.offset))
    text = f"{shape(field.size)} pixels; the first unit's starts at ({start})"
    if not any(field.stride):
        return f"{text}, and all units see the same"
    return f"{text}, the next one's {' x '.join(map(str, field.stride))} further on"


def extent_of(region: "NDArray[np.bool_]", axis: int) -> tuple[int, int]:
    import numpy as np

    others = tuple(other for other in range(region.ndim) if other != axis)
    line = np.asarray(region.any(axis=others))
    places = [int(place) for place in line.nonzero()[0]]
    return (places[0], places[-1]) if places else (0, -1)


def values(
    network: str,
    record: LayerRecord,
    source: Shape,
    field: "ReceptiveField | None",
    paths: tuple["ReceptiveField", ...],
    unit: tuple[int, ...],
    region: "NDArray[np.bool_]",
    strength: "EffectiveField | None",
    draws: int,
) -> dict[str, Any]:
    """The same as plain values."""
    effective = None
    if strength is not None:
        effective = {"size": strength.size, "sigma": strength.sigma, "draws": draws}
    return {
        "name": network,
        "layer": record.name,
        "operation": operation(record),
        "output_shape": record.output_shape,
        "input_shape": source,
        "receptive_field": None if field is None else asdict(field),
        "path_fields": [asdict(path) for path in paths],
        "unit": unit,
        "first_pixel": [extent_of(region, axis)[0] for axis in range(region.ndim)],
        "last_pixel": [extent_of(region, axis)[1] for axis in range(region.ndim)],
        "pixels": int(region.sum()),
        "region": ["".join("1" if pixel else "0" for pixel in row) for row in region] if region.ndim == 2 else None,
        "effective": effective,
    }


def draw(
    path: Path,
    network: str,
    record: LayerRecord,
    unit: tuple[int, ...],
    region: "NDArray[np.bool_]",
    strength: "EffectiveField | None",
) -> None:
    from convatlas.visualise import field

    title = f"{network}, {record.name}, unit ({', '.join(map(str, unit))})"
    field.figure(region, None if strength is None else strength.strength, title).savefig(make_parent(path), dpi=160)
