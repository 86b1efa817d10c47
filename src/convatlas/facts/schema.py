"""What the ledger holds: values as printed, where they stand, and how sure we are of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Confidence = Literal["verified", "stated", "recalled", "disputed"]

CONFIDENCE_WORDS: dict[str, str] = {
    "verified": "read in the paper or in its release, and recomputed",
    "stated": "read in the paper, or in a transcript of it",
    "recalled": "from memory or second hand: whoever has the paper at hand should check the place that is named",
    "disputed": "printed, but not what the network gives; the reason stands beside it",
}
CONFIDENCES = tuple(CONFIDENCE_WORDS)
QUANTITIES = (
    "parameters",  # weights, biases and the affine part of normalisation; running statistics are never counted
    "connections",  # weights used by one sample, biases included
    "multiply_adds",  # one per use of a weight of a convolution or a fully connected layer; no bias, norm or pooling
    "convolution_multiply_adds",  # the convolutions' part of it
    "units",  # outputs of the weight layers
    "units_with_input",
    "weights",  # parameters of convolutions and fully connected layers without their biases
    "parameters_without_deconvolutions",  # FCN's tables leave its bilinear upsampling out
    "boxes",  # default boxes of a detector: rows of its last output
    "weight_layers",  # on the longest path from the input to the output
)
COMPUTED_QUANTITIES = (  # what a claim's own expression computes
    "receptive_field",  # side in pixels of the input
    "stride",  # pixels of the input between neighbouring units
    "output",  # height x width x channels
    "ratio",
    "share",
    "convolutions",
    "anchors",
    "candidate_boxes",
    "paths",
    "crops",
    "megabytes",  # 10^6 bytes, 32 bits a parameter unless the note says otherwise
    "channels",
)


class LedgerError(ValueError):
    """A ledger file breaks its schema; the message names the file, the place and what was expected."""


@dataclass(frozen=True)
class Claim:
    """One number about a network or one of its layers that can be recomputed."""

    quantity: str  # one of QUANTITIES, or of COMPUTED_QUANTITIES where the claim has an expression
    value: str  # as printed: "60,000", "3.8e9", "0.27M"
    where: str  # table, figure or section; empty where it is not known
    confidence: Confidence
    printed: bool = True  # False: derived by arithmetic, not printed by the paper
    layer: str | None = None  # a layer, a part whose layers lie below it, or a sum, `a + b`; None: the whole network
    unit: str | None = None  # overrides the unit of the last printed digit, for round numbers such as 650,000
    bound: bool = False  # True: printed as "less than" the value
    note: str = ""  # a disputed claim says here why it can't be reproduced
    compute: str = ""  # an expression of `analysis.expressions`, for what is not a count over layers
    source: str = ""  # what was read in place of the paper: repository, file and commit of a release or a transcript


@dataclass(frozen=True)
class Result:
    """What a paper reached: never recomputed by `verify`."""

    data: str
    quantity: str
    value: str
    protocol: str
    confidence: str  # in words, since one row may mix grades


@dataclass(frozen=True)
class LayerFacts:
    """One row of a network's layer table, derived from the paper's. Its name may hold ranges, as in `conv{1..2}`."""

    name: str
    op: str
    out: tuple[int, ...] | None = None
    kernel: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    padding: tuple[int, ...] | None = None
    dilation: tuple[int, ...] | None = None
    groups: int = 1
    params: int | None = None
    macs: int | None = None
    connections: int | None = None
    note: str = ""
    extra: Mapping[str, object] = field(
        default_factory=dict
    )  # constants of the layer, formulas; see loader.LAYER_EXTRAS


@dataclass(frozen=True)
class Totals:
    """Sums over the layer table (None: not in the source)."""

    parameters: int
    multiply_adds: int
    connections: int | None = None
    weights: int | None = None
    biases: int | None = None
    bn_affine: int | None = None
    parameters_with_aux: int | None = None
    multiply_adds_with_aux: int | None = None


@dataclass(frozen=True)
class NetworkFacts:
    """A network as published: its table, its sums and what was claimed of it."""

    name: str
    paper: str
    title: str
    status: str = "complete"
    input: tuple[int, ...] | None = None  # (C, H, W)
    weight_layers: int | None = None
    totals: Totals | None = None
    totals_confidence: str = ""
    structure_confidence: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    library: Mapping[str, object] = field(default_factory=dict)  # what libraries ship under a similar name
    claims: tuple[Claim, ...] = ()
    layers: tuple[LayerFacts, ...] = ()


@dataclass(frozen=True)
class Paper:
    """One file of the ledger."""

    key: str
    title: str
    authors: str
    year: int
    venue: str
    id: str  # DOI, arXiv number or address
    input: str = ""
    weight_layers: str = ""
    test: str = ""
    source: str = ""
    partial: str = ""
    claims: tuple[tuple[str, str], ...] = ()  # (quantity, value as printed)
    claims_confidence: str = ""
    facts: tuple[tuple[str, str], ...] = ()  # (statement, confidence in words)
    nonstandard: tuple[str, ...] = ()
    ablations: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    disputed: tuple[str, ...] = ()
    recipe: Mapping[str, str] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    tables: Mapping[str, object] = field(default_factory=dict)  # tables of the paper that fit no other field
    networks: Mapping[str, NetworkFacts] = field(default_factory=dict)
