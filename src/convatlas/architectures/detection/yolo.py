"""YOLO: detection as one regression, from the whole image to a grid of boxes and classes.

Redmon, Divvala, Girshick, Farhadi, "You Only Look Once: Unified, Real-Time Object Detection", CVPR 2016,
arXiv:1506.02640.

Follows  Figure 3 and equations 1 to 3; cfg/yolo.cfg and cfg/yolo-tiny.cfg of the authors' Darknet in November 2015 for
         what the paper does not tell: the paddings, the fully connected layers of the fast net (the first without
         activation), the initialisation, and what a responsible box is where none overlaps its object. The loss is
         half the sum of equation 3, whose gradient is Darknet's, and its mean over the images of a batch. As in the
         authors' lists of objects, difficult ones are not learned.
Departs  That Darknet's tiny net is the paper's Fast YOLO is not confirmed; its name says so.
Shapes   B batch, C channels, S x S cells of the grid, P boxes a cell, K classes.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from convatlas.blocks.init import initialise_as_darknet
from convatlas.lazy import Lazy
from convatlas.network import Network
from convatlas.ops.boxes import paired_iou, suppress
from convatlas.ops.transplant import transplant
from convatlas.records import Detections, Objects
from convatlas.registry import register

ops = Lazy("torchvision.ops")

SIDE, PER_CELL = 7, 2  # S and P
COORDINATE_WEIGHT, EMPTY_WEIGHT = 5.0, 0.5

# Filters, size and stride of each convolution, and 2x2 pools.
Rows = tuple[tuple[int, int, int] | Literal["pool"], ...]

PRETRAINED: Rows = (
    *((64, 7, 2), "pool", (192, 3, 1), "pool"),
    *((128, 1, 1), (256, 3, 1), (256, 1, 1), (512, 3, 1), "pool"),
    *(((256, 1, 1), (512, 3, 1)) * 4),
    *((512, 1, 1), (1024, 3, 1), "pool"),
    *(((512, 1, 1), (1024, 3, 1)) * 2),
)
STANDARD: Rows = (*PRETRAINED, (1024, 3, 1), (1024, 3, 2), (1024, 3, 1), (1024, 3, 1))
FAST: Rows = (
    *((16, 3, 1), "pool", (32, 3, 1), "pool", (64, 3, 1), "pool", (128, 3, 1), "pool", (256, 3, 1), "pool"),
    *((512, 3, 1), "pool", (1024, 3, 1), (1024, 3, 1), (1024, 3, 1)),
)


class Grid(nn.Module):
    """Gathers what belongs to a cell from Darknet's order: all classes, all confidences, all boxes.

    (B, S S (K + 5 P)) -> (B, S, S, K + 5 P): K classes, P confidences, P boxes of x, y, sqrt(w), sqrt(h).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.widths = (num_classes, PER_CELL, 4 * PER_CELL)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split([SIDE * SIDE * width for width in self.widths], 1)
        return torch.cat(
            [part.reshape(-1, SIDE, SIDE, width) for part, width in zip(parts, self.widths, strict=True)], 3
        )


class Cells(NamedTuple):
    """The grid, taken apart. Lengths are parts of the image's."""

    classes: Tensor  # (B, S, S, K), conditional on an object being there
    confidences: Tensor  # (B, S, S, P)
    centres: Tensor  # (B, S, S, P, 2): x, y from the cell's corner, in cells
    roots: Tensor  # (B, S, S, P, 2): square roots of width and height

    def boxes(self) -> Tensor:
        """(B, S, S, P, 4) xyxy"""
        places = torch.arange(SIDE, device=self.centres.device)
        corners = torch.stack(torch.meshgrid(places, places, indexing="xy"), -1).unsqueeze(2)  # S x S x 1 x 2
        centres = (self.centres + corners) / SIDE
        return ops.box_convert(torch.cat([centres, self.roots.square()], -1), "cxcywh", "xyxy")


def cells(grid: Tensor) -> Cells:
    """(B, S, S, K + 5 P) -> its parts."""
    classes, confidences, boxes = grid.split([grid.shape[3] - 5 * PER_CELL, PER_CELL, 4 * PER_CELL], 3)
    centres, roots = boxes.unflatten(3, (PER_CELL, 4)).split(2, -1)
    return Cells(classes, confidences, centres, roots)


class Marked(NamedTuple):
    """The M cells of a batch into which the centre of an object falls."""

    places: tuple[Tensor, Tensor, Tensor]  # image, row and column, (M,) each
    boxes: Tensor  # (M, 4) xyxy, in parts of the image
    labels: Tensor  # (M,)


def mark(targets: Sequence[Objects], size: tuple[int, int]) -> Marked:
    """Of several objects in one cell the first in the list counts; images have (H, W) pixels.

    Darknet shuffles the list whenever it reads it: `data.detection.augment.ShuffleObjects`.
    """
    scale = targets[0].boxes.new_tensor([size[1], size[0], size[1], size[0]])
    places, boxes, labels = [], [], []
    for image, target in enumerate(targets):
        relative = target.boxes / scale
        centres = (relative[:, :2] + relative[:, 2:]) / 2
        columns_rows = (centres * SIDE).long().clamp(0, SIDE - 1).tolist()
        taken: set[tuple[int, int]] = set()
        for index, (column, row) in enumerate(columns_rows):
            if (row, column) not in taken and not target.difficult[index]:
                taken.add((row, column))
                places.append((image, row, column))
                boxes.append(relative[index])
                labels.append(target.labels[index])
    if not places:
        none = targets[0].labels.new_zeros(0)
        return Marked((none, none, none), targets[0].boxes.new_zeros(0, 4), none)
    image, row, column = torch.tensor(places, device=scale.device).unbind(1)
    return Marked((image, row, column), torch.stack(boxes), torch.stack(labels))


def responsible(predicted: Tensor, marked: Tensor) -> Tensor:
    """Which of the P boxes of each cell is nearest to its object.  (M, P, 4), (M, 4) -> (M,)

    The one that overlaps it most; where none does, the one whose centre and size differ least.
    """
    overlaps = paired_iou(predicted, marked[:, None])
    differences = ops.box_convert(predicted, "xyxy", "cxcywh") - ops.box_convert(marked, "xyxy", "cxcywh")[:, None]
    nearest = differences.square().sum(-1).argmin(1)
    return torch.where(overlaps.amax(1) > 0, overlaps.argmax(1), nearest)


def yolo_losses(grid: Tensor, targets: Sequence[Objects], size: tuple[int, int]) -> dict[str, Tensor]:
    """Half of equation 3, in its five sums, averaged over the images.  (B, S, S, K + 5 P), images of (H, W) pixels

    The confidence of a responsible box is to be its IoU with the object, as it is now. The gradient of an image is what
    Darknet's `forward_detection_layer` writes into `delta`, but for the sign.
    """
    predictions, (places, boxes, labels) = cells(grid), mark(targets, size)
    each = torch.arange(len(labels), device=grid.device)
    predicted = predictions.boxes()[places].detach()
    box = responsible(predicted, boxes)
    overlap = paired_iou(predicted[each, box], boxes)
    wanted = ops.box_convert(boxes, "xyxy", "cxcywh")
    corners = torch.stack([places[2], places[1]], 1)
    centre_error = predictions.centres[places][each, box] - (wanted[:, :2] * SIDE - corners)
    root_error = predictions.roots[places][each, box] - wanted[:, 2:].sqrt()
    confidence = predictions.confidences[places][each, box]
    class_error = predictions.classes[places] - nn.functional.one_hot(labels, predictions.classes.shape[3])
    empty = torch.ones_like(predictions.confidences, dtype=torch.bool)
    empty[(*places, box)] = False
    sums = {
        "centre": COORDINATE_WEIGHT * centre_error.square().sum(),
        "size": COORDINATE_WEIGHT * root_error.square().sum(),
        "object": (confidence - overlap).square().sum(),
        "no_object": EMPTY_WEIGHT * predictions.confidences[empty].square().sum(),
        "class": class_error.square().sum(),
    }
    return {name: value / (2 * len(targets)) for name, value in sums.items()}


class YOLO(Network, nn.Sequential):
    """(B, in_channels, 448, 448) -> (B, 7, 7, K + 10), as `Grid` orders it.

    Args:
        rows: convolutions and pools.
        hidden: units of the fully connected layers but the last; the last of them is behind a ReLU and a dropout.
        num_classes: K.
        in_channels: of the input.
    """

    def __init__(self, rows: Rows, hidden: tuple[int, ...], *, num_classes: int = 20, in_channels: int = 3) -> None:
        super().__init__(_convolutions(rows, in_channels))
        self.flatten = nn.Flatten()  # 50176
        units = 1024 * SIDE * SIDE
        for place, width in enumerate(hidden, start=1):
            self.add_module(f"fc{place}", nn.Linear(units, width))
            units = width
        self.add_module(f"leaky_fc{len(hidden)}", nn.LeakyReLU(0.1))
        self.drop = nn.Dropout(0.5)  # 4096
        self.add_module(f"fc{len(hidden) + 1}", nn.Linear(units, SIDE * SIDE * (num_classes + 5 * PER_CELL)))
        self.grid = Grid(num_classes)  # 7 x 7 x 30
        pretrained = {f"conv{place}" for place in range(1, 21)}
        weighted = [name for name, layer in self.named_children() if isinstance(layer, (nn.Conv2d, nn.Linear))]
        self.own_layers = tuple(f"{name}." for name in weighted if name not in pretrained)
        initialise_as_darknet(self)

    def start_from(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Copies the layers of the same names: of a `pretraining_net` its convolutions (section 2.2).

        Returns and raises as `transplant`.
        """
        return transplant(self, tensors)

    def losses(self, images: Tensor, targets: Sequence[Objects]) -> dict[str, Tensor]:
        """Half the sums of equation 3, scalars whose sum is minimised.  (B, C, H, W), B images' objects"""
        return yolo_losses(self(images), targets, (images.shape[2], images.shape[3]))

    @torch.no_grad()
    def detect(
        self, images: Tensor, *, score_above: float = 0.001, iou_above: float = 0.5, most: int | None = None
    ) -> list[Detections]:
        """What is on each image, in its pixels: equation 1, then suppression in each class.  (B, C, H, W) -> B

        The thresholds are those of Darknet's validation; its demonstration shows scores over 0.2.
        """
        size = (images.shape[2], images.shape[3])
        return yolo_detections(self(images), size, score_above=score_above, iou_above=iou_above, most=most)


def yolo_detections(
    grid: Tensor, size: tuple[int, int], *, score_above: float, iou_above: float, most: int | None
) -> list[Detections]:
    """Decoded to images of (H, W) pixels, suppressed in each class, and then clipped."""
    predictions = cells(grid)
    scores = (predictions.classes[:, :, :, None] * predictions.confidences[..., None]).flatten(1, 3)
    boxes = predictions.boxes().flatten(1, 3) * grid.new_tensor([size[1], size[0], size[1], size[0]])
    detections = [
        suppress(*image, score_above=score_above, iou_above=iou_above, most=most)
        for image in zip(boxes, scores, strict=True)
    ]
    return [replace(image, boxes=ops.clip_boxes_to_image(image.boxes, size)) for image in detections]


def _convolutions(rows: Rows, in_channels: int) -> "OrderedDict[str, nn.Module]":
    """conv1, leaky_conv1, pool1, ...  (B, in_channels, H, W) -> (B, 1024, h, w)"""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    channels, convolutions, pools = in_channels, 0, 0
    for row in rows:
        if row == "pool":
            pools += 1
            modules[f"pool{pools}"] = nn.MaxPool2d(2)
            continue
        filters, kernel, stride = row
        convolutions += 1
        modules[f"conv{convolutions}"] = nn.Conv2d(channels, filters, kernel, stride, kernel // 2)
        modules[f"leaky_conv{convolutions}"] = nn.LeakyReLU(0.1)
        channels = filters
    return modules


def pretraining_net(*, num_classes: int = 1000, in_channels: int = 3) -> nn.Sequential:
    """The classifier of section 2.2 that the detector starts from: its first 20 convolutions, a mean, a sum.

    (B, in_channels, 224, 224) -> (B, num_classes) logits
    """
    net = nn.Sequential(
        OrderedDict(
            **_convolutions(PRETRAINED, in_channels),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(1024, num_classes),
        )
    )
    initialise_as_darknet(net)
    return net


@register(task="detection", paper="redmon2015_yolo", input_shape=(3, 448, 448), num_classes=20, aliases=("yolo",))
def yolov1(*, num_classes: int = 20, in_channels: int = 3) -> YOLO:
    """YOLO: 24 convolutions and two fully connected layers, 7 x 7 cells of two boxes."""
    return YOLO(STANDARD, (4096,), num_classes=num_classes, in_channels=in_channels)


@register(task="detection", paper="redmon2015_yolo", input_shape=(3, 448, 448), num_classes=20)
def yolov1_fast_tiny_2015cfg(*, num_classes: int = 20, in_channels: int = 3) -> YOLO:
    """Fast YOLO as Darknet's tiny net of November 2015: nine convolutions."""
    return YOLO(FAST, (256, 4096), num_classes=num_classes, in_channels=in_channels)
