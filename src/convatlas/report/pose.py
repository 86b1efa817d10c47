"""What a report shows of a pose network: joints, the curve over the distance allowed, the worst poses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from torch import Tensor

from convatlas.records import PoseEvaluation
from convatlas.report import html, tables
from convatlas.report.html import Tile
from convatlas.report.image_uris import array_uri, as_array
from convatlas.report.paths import short
from convatlas.visualise import dense_curves, overlays

LONGEST_SIDE = 320  # pixels of an image in the page


@dataclass(frozen=True)
class JointRow:
    """How one joint came out; None where nobody has marked it."""

    name: str
    marked: int
    correct: float | None
    median: float | None  # distance, in the measure's lengths; infinite where most were not found


@dataclass(frozen=True)
class PoseExample:
    """A person with the true and the found pose."""

    path: str
    image: Tensor  # uint8 (C, H, W)
    joints: Tensor  # (J, 2) x and y in its pixels
    visible: Tensor  # (J,) bool
    found: Tensor  # (J, 2)
    distances: Tensor  # (J,) in the measure's lengths


def worst(evaluation: PoseEvaluation, limit: int = 8) -> list[int]:
    """The people with the smallest part of their joints right, smallest first; of equals, the larger mean distance."""
    order = []
    for person, distances in enumerate(evaluation.distances):
        marked = distances[~distances.isnan()]
        if len(marked):
            right = (marked <= evaluation.threshold).double().mean().item()
            order.append((right, -marked.mean().item(), person))
    return [person for _, _, person in sorted(order)[:limit]]


def joint_rows(evaluation: PoseEvaluation) -> list[JointRow]:
    """One row a joint, in the order of the joints."""
    rows = []
    for joint, name in enumerate(evaluation.joints):
        distances = evaluation.distances[:, joint]
        marked = distances[~distances.isnan()]
        median = marked.quantile(0.5, interpolation="lower").item() if len(marked) else None
        rows.append(JointRow(name, len(marked), _known(evaluation.correct_of_joint[joint].item()), median))
    return rows


def sections(
    evaluation: PoseEvaluation,
    examples: Sequence[PoseExample],
    *,
    limbs: overlays.Limbs,
    left: Sequence[int] = (),
    right: Sequence[int] = (),
) -> Markup:
    """The sections "joints" and "worst" for a page with the reports' style.

    Args:
        evaluation: the numbers.
        examples: to be shown, in this order; see `worst`.
        limbs: pairs of joints to be joined by a line.
        left: joints of the person's left side, orange.
        right: those of the right side, blue.
    """

    def drawn(example: PoseExample, joints: Tensor) -> str:
        image = as_array(example.image)
        pose = overlays.skeleton(image, joints.numpy(), example.visible.numpy(), limbs, left=left, right=right)
        return array_uri(pose, LONGEST_SIDE)

    curve = dense_curves.pck_figure(evaluation.distances.numpy(), evaluation.joints, evaluation.threshold)
    values: dict[str, Any] = {
        "measure": evaluation.measure,
        "rows": joint_rows(evaluation),
        "marked": int((~evaluation.distances.isnan()).sum()),
        "correct": _known(evaluation.correct),
        "curve": html.svg(curve, "Joints found by the distance allowed"),
        "examples": [
            {
                "path": short(example.path),
                "marked": int((~example.distances.isnan()).sum()),
                "right": int((example.distances <= evaluation.threshold).sum()),
                "truth": drawn(example, example.joints),
                "found": drawn(example, example.found),
            }
            for example in examples
        ],
    }
    return html.render("pose.html", values)


def page(
    evaluation: PoseEvaluation,
    examples: Sequence[PoseExample],
    title: str,
    *,
    limbs: overlays.Limbs,
    left: Sequence[int] = (),
    right: Sequence[int] = (),
) -> str:
    """A whole page of `sections` below the numbers."""
    lead = f"{evaluation.protocol}, in {tables.duration(evaluation.seconds)}."
    body = sections(evaluation, examples, limbs=limbs, left=left, right=right)
    return html.standalone(title, lead[0].upper() + lead[1:], tiles(evaluation), body)


def tiles(evaluation: PoseEvaluation) -> list[Tile]:
    """The large numbers of a page."""
    marked = int((~evaluation.distances.isnan()).sum())
    return [
        Tile(tables.percent(evaluation.correct, 1), evaluation.measure, f"of {marked:,} marked joints", "reached"),
        Tile(f"{len(evaluation.distances):,}", "people", f"{len(evaluation.joints)} joints each"),
    ]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
