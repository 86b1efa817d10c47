"""Laying an evaluation of any task beside what was printed of the network."""

from collections.abc import Sequence

from convatlas.facts.comparable import results_beside
from convatlas.facts.results import PrintedResult
from convatlas.records import (
    AP_PROTOCOLS,
    DetectionEvaluation,
    Evaluation,
    PoseEvaluation,
    SegmentationEvaluation,
)

AnyEvaluation = Evaluation | SegmentationEvaluation | DetectionEvaluation | PoseEvaluation

POSE_MEASURES = {"PCKh@0.5": "pckh", "PCK@0.2": "pck"}
SEGMENTATION_MEASURES = ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "boundary_f1")
COCO_MEASURES = ("ap", "ap50", "mask_ap", "mask_ap50")
MEMBRANE_MEASURES = ("pixel_error", "rand_error", "warping_error")


def printed_beside(networks: Sequence[str], dataset: str, evaluation: AnyEvaluation) -> tuple[PrintedResult, ...]:
    """The printed results of a network's own data set, measure and protocol.

    Args:
        networks: the registered name of each network that took part; results of an ensemble are of the same ones.
        dataset: its name here.

    Example:
        >>> printed_beside(("lenet5",), "digits", evaluation)  # doctest: +SKIP
        ()
    """
    measures, protocol = asked(evaluation)
    return tuple(
        result
        for result in results_beside(networks[0], dataset, protocol, measures)
        if set(result.networks) == set(networks)
    )


def asked(evaluation: AnyEvaluation) -> tuple[tuple[str, ...], str]:
    """The measures of an evaluation, as the ledger calls them, and its protocol in words."""
    if isinstance(evaluation, Evaluation):
        return ("top1_error", "top5_error"), evaluation.protocol
    if isinstance(evaluation, SegmentationEvaluation):
        return SEGMENTATION_MEASURES, evaluation.protocol
    if isinstance(evaluation, PoseEvaluation):
        measure = POSE_MEASURES.get(evaluation.measure)
        return ((measure,) if measure else ()), evaluation.protocol
    measures = COCO_MEASURES if evaluation.protocol == "coco" else ("mean_ap",)
    return measures, AP_PROTOCOLS[evaluation.protocol].name


def sentence(results: Sequence[PrintedResult], dataset: str, evaluation: AnyEvaluation) -> str:
    """What a page says of the printed results that stand beside an evaluation."""
    _, protocol = asked(evaluation)
    if not results:
        return f"No printed result of this network is of {dataset}, measured like this ({protocol})."
    return f"Printed for the same data and protocol: {'; '.join(map(str, results))}."
