"""From a network to its drawing."""

from collections.abc import Sequence
from typing import Literal

from convatlas.records import LayerRecord
from convatlas.visualise.drawing.graph import Drawing, build
from convatlas.visualise.drawing.layout import sheet
from convatlas.visualise.drawing.svg import render
from convatlas.visualise.drawing.u_shape import u_sheet

Form = Literal["trunk", "strip", "u"]

READABLE = 70  # boxes, beyond which a finer fold is not taken by default
DEEPEST = 3
FORMS: dict[str, Form] = {
    "lenet_1989": "strip", "lenet5": "strip", "caffe_lenet": "strip", "alexnet": "strip", "alexnet_owt": "strip",
    "alexnet_ungrouped": "strip", "caffenet": "strip", "zfnet": "strip", "neocognitron_1980": "strip",
    "perceptron": "strip", "unet": "u", "unet_phseg_v5_release": "u", "unet_squeezenet": "u", "retina_unet_orobix": "u",
    "segnet_camvid": "u", "segnet_basic": "u", "deconvnet_voc": "u", "fcn_basic_camvid": "u",
}  # fmt: skip
"""As the papers' own figures are drawn; every other network is a trunk from top to bottom."""


def draw_network(
    name: str, records: Sequence[LayerRecord], *, fold: int | None = None, form: Form | None = None
) -> str:
    """A network as an SVG document: boxes with the paper's names, branches, sums and concatenations.

    Args:
        name: of the network, for the title; a registered one has the form of its paper's figure.
        records: the trace of one forward pass.
        fold: how many parts of a layer's name stay apart: 1 draws the network's modules, 0 every layer, None the finest
            drawing that can be read, of at most 70 boxes.
        form: "trunk" is drawn downwards, "strip" to the right, "u" with a row for each resolution.

    Returns:
        A document of text elements, whose boxes have the module paths as ids; the same for the same network.

    Examples:
        >>> from convatlas.analysis.trace import trace_network
        >>> draw_network("lenet5", trace_network("lenet5")).count('class="box"')
        8
    """
    form = form or FORMS.get(name, "trunk")
    drawing = drawing_of(records, fold)
    placed = u_sheet(drawing, records) if form == "u" else sheet(drawing, horizontal=form == "strip")
    boxes = len(drawing.boxes) - 1
    parameters = sum(record.parameters for record in records)
    return render(drawing, placed, name, f"{name}: {boxes} boxes, {parameters:,} parameters, from input to output")


def drawing_of(records: Sequence[LayerRecord], fold: int | None = None) -> Drawing:
    """The boxes and edges at a fold, or at the finest one that can be read."""
    if fold is not None:
        return build(records, fold)
    for finest in (0, *range(DEEPEST, 1, -1)):
        drawing = build(records, finest)
        if len(drawing.boxes) <= READABLE:
            return drawing
    return build(records, 1)
