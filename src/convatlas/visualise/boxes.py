"""A detector's answers on an image, beside what a person has marked: right, wrong and missed."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from convatlas.data.detection.drawing import draw_boxes, tag, to_canvas
from convatlas.evaluation.error_analysis import ImageErrors
from convatlas.records import Detections, Objects
from convatlas.visualise.overlays import INVENTED, MISSED, RIGHT

_DIFFICULT = (150, 150, 150)
_GAP = 8  # pixels between the two


def beside(
    image: Tensor, found: Detections, truth: Objects, classes: Sequence[str], *, longest: int = 480
) -> Image.Image:
    """The truth on the left, the detections with their scores on the right, in the classes' colours."""
    left = draw_boxes(image, truth, classes, longest=longest)
    right = draw_boxes(image, found, classes, longest=longest)
    both = Image.new("RGB", (left.width + _GAP + right.width, left.height), "#ffffff")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + _GAP, 0))
    return both


def verdicts(
    image: Tensor,
    found: Detections,
    truth: Objects,
    errors: ImageErrors,
    classes: Sequence[str],
    *,
    longest: int = 480,
) -> Image.Image:
    """One image with its right and wrong answers and the objects that were missed, each in one colour."""
    canvas, scale = to_canvas(image, longest)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(max(9, longest // 40))
    width = max(1, round(longest / 160))
    rows: list[tuple[list[float], str, tuple[int, int, int]]] = []
    for place in errors.missed.tolist():
        rows.append((truth.boxes[place].tolist(), f"{classes[int(truth.labels[place])]}, missed", MISSED))
    for shown in reversed(range(len(errors.shown))):  # the most certain lie on top
        place = int(errors.shown[shown])
        text = f"{classes[int(found.labels[place])]} {found.scores[place]:.2f}"
        wrong = _DIFFICULT if errors.ignored[shown] else INVENTED
        rows.append((found.boxes[place].tolist(), text, RIGHT if errors.right[shown] else wrong))
    for box, text, colour in rows:
        x1, y1, x2, y2 = (side * scale for side in box)
        pen.rectangle((x1, y1, max(x1 + 1, x2 - 1), max(y1 + 1, y2 - 1)), outline=colour, width=width)
        tag(pen, font, (x1, y1), text, colour, canvas.size)
    return canvas
