"""The ledger against the live network: every published number recomputed and laid beside the printed one."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from convatlas import facts, registry
from convatlas.analysis.arithmetic import arithmetic
from convatlas.analysis.cost import Cost, cost
from convatlas.analysis.expressions import agrees, evaluate, show
from convatlas.analysis.quantities import QUANTITIES, is_weight_layer, select_layers, weight_layers
from convatlas.analysis.trace import trace_network
from convatlas.records import LayerRecord, Shape

Verdict = Literal["holds", "fails", "disputed", "uncovered"]

DERIVED = "layer table"
UNVERIFIED = "unverified"  # how `structure_confidence` begins where nobody has held the layer table to the paper


@dataclass(frozen=True)
class Row:
    """One number of the ledger, and what the network says."""

    network: str
    quantity: str
    layer: str | None  # None: the whole network; else a layer's name, or a pattern such as "conv{1..2}"
    printed: str
    computed: str
    verdict: Verdict
    confidence: str
    where: str
    reason: str = ""
    claim: bool = False  # printed by the paper; otherwise a check that our own derived table is consistent
    arithmetic: str = ""  # of the computed number, in one line
    source: str = ""  # what was read in place of the paper


@dataclass(frozen=True)
class Tally:
    """Rows counted by what they are: claims that papers print, and consistency checks of our own tables."""

    claims: int
    claims_hold: int
    claims_disputed: int
    claims_fail: int
    checks: int
    checks_hold: int
    checks_disputed: int
    checks_fail: int
    uncovered: int = 0  # networks whose layers no table covers that somebody has read

    def __str__(self) -> str:
        """ "175 printed claims: 137 hold, 38 disputed; 41,542 derived checks: 41,542 hold"."""
        claims = _counted(self.claims_hold, self.claims_disputed, self.claims_fail)
        checks = _counted(self.checks_hold, self.checks_disputed, self.checks_fail)
        uncovered = f"; {self.uncovered:,} without a verified layer table" if self.uncovered else ""
        return f"{self.claims:,} printed claims: {claims}; {self.checks:,} derived checks: {checks}{uncovered}"


def _counted(hold: int, disputed: int, fail: int) -> str:
    numbers = [(hold, "hold"), (disputed, "disputed"), (fail, "fail")]
    return ", ".join(f"{number:,} {word}" for number, word in numbers if number or word == "hold")


def tally(rows: Sequence[Row]) -> Tally:
    """Counts rows by what they are and what came of them."""
    counts = Counter((row.claim, row.verdict) for row in rows)
    numbers = [
        [counts[claim, verdict] for verdict in ("holds", "disputed", "fails")] for claim in (True, False)
    ]  # fmt: skip
    (claims_hold, claims_disputed, claims_fail), (checks_hold, checks_disputed, checks_fail) = numbers
    return Tally(
        sum(numbers[0]), claims_hold, claims_disputed, claims_fail,
        sum(numbers[1]), checks_hold, checks_disputed, checks_fail, counts[False, "uncovered"],
    )  # fmt: skip


def verify(name: str) -> tuple[Row, ...]:
    """All rows of one network: what the paper claims, the totals, then its layers.

    A claim holds when the computed number is less than one unit of the last printed digit away: papers round, and
    papers cut. Totals and layers have to be equal. A claim that the ledger calls disputed, and that does not hold, is
    "disputed" and gives the ledger's reason; anything else that does not hold "fails". A network whose layer table is
    missing or unverified has one row that is "uncovered".

    Raises:
        UsageError: unknown network.
    """
    card = registry.card(name)
    ledger = facts.network(card.name)
    if ledger is None:
        reason = f"facts/papers/{card.paper}.toml has no [networks.{card.name}]"
        return (Row(card.name, "ledger", None, "an entry", "none", "fails", "", "", reason),)
    heads = ledger.totals is not None and ledger.totals.parameters_with_aux is not None
    training = trace_network(card, training=True) if heads else ()
    return compare(ledger, trace_network(card), card.input_shape, training)


def compare(
    ledger: facts.NetworkFacts,
    records: Sequence[LayerRecord],
    input_shape: Shape,
    training: Sequence[LayerRecord] = (),
) -> tuple[Row, ...]:
    """The rows for a ledger entry and a trace; `training` is the one in train mode where there are auxiliary heads."""
    by_name: dict[str, LayerRecord] = {}
    for record in (*records, *training):
        by_name.setdefault(record.name, record)  # a layer that runs twice has its parameters in its first record
    return (
        *(_claim(ledger.name, claim, records, by_name, input_shape) for claim in ledger.claims),
        *_totals(ledger, cost(records), records, input_shape),
        *_totals_with_heads(ledger, cost(training)),
        *_layers(ledger, training or records, by_name),
    )


def _claim(
    network: str,
    claim: facts.Claim,
    records: Sequence[LayerRecord],
    by_name: dict[str, LayerRecord],
    input_shape: Shape,
) -> Row:
    if claim.compute:
        return _computed_claim(network, claim)
    value, unit = facts.parse_quantity(claim.value)
    if claim.unit:
        unit, _ = facts.parse_quantity(claim.unit)
    steps = ""
    counted = select_layers(claim.layer, records, by_name)
    if claim.layer == "input":
        computed, steps = math.prod(input_shape), " x ".join(map(str, input_shape))
    elif not counted:
        row = _row(network, claim.quantity, claim.layer, claim.value, None, False, claim.confidence, claim.where)
        return replace(row, claim=claim.printed)
    else:
        count = QUANTITIES[claim.quantity]
        computed = count(counted, input_shape)
        if claim.quantity not in ("weight_layers", "boxes"):
            steps = arithmetic(claim.quantity, counted, lambda layers: count(layers, input_shape))
    holds = computed < value if claim.bound else abs(computed - value) < unit
    printed = ("< " if claim.bound else "") + claim.value + ("" if claim.printed else " (derived)")
    text = f"{computed:,}" + (f" (to {int(unit):,})" if claim.unit else "")
    row = _row(network, claim.quantity, claim.layer, printed, text, holds, claim.confidence, claim.where, claim.note)
    return replace(row, claim=claim.printed, arithmetic=steps, source=claim.source)


def _computed_claim(network: str, claim: facts.Claim) -> Row:
    """A claim that is not a count of layers: a ratio, a receptive field, an output's shape, by its own expression."""
    where = f"{network}: {claim.quantity}"
    value = evaluate(claim.compute, where)
    if claim.bound and isinstance(value, int | float | Fraction):
        holds = value < Fraction(facts.parse_quantity(claim.value)[0])
    else:
        holds = agrees(value, claim.value, claim.unit or "", where)
    printed = ("< " if claim.bound else "") + claim.value + ("" if claim.printed else " (derived)")
    row = _row(
        network, claim.quantity, claim.layer, printed, show(value), holds, claim.confidence, claim.where, claim.note
    )
    return replace(row, claim=claim.printed, arithmetic=claim.compute, source=claim.source)


def _row(
    network: str,
    quantity: str,
    layer: str | None,
    printed: str,
    computed: str | None,
    holds: bool,
    confidence: str = "derived",
    where: str = DERIVED,
    reason: str = "",
) -> Row:
    verdict: Verdict = "holds" if holds else "disputed" if confidence == "disputed" else "fails"
    if computed is None:
        verdict, computed, reason = "fails", "none", f"the network has no layer {layer!r}"
    return Row(network, quantity, layer, printed, computed, verdict, confidence, where, reason)


def _totals(
    ledger: facts.NetworkFacts, sums: Cost, records: Sequence[LayerRecord], input_shape: Shape
) -> Iterator[Row]:
    if ledger.input is not None:
        yield _row(ledger.name, "input", None, _shape(ledger.input), _shape(input_shape), ledger.input == input_shape)
    if ledger.weight_layers is not None:
        layers = weight_layers(records)
        yield _row(
            ledger.name, "weight_layers", None, str(ledger.weight_layers), str(layers), layers == ledger.weight_layers
        )
    if ledger.totals is None:
        return
    for quantity in ("parameters", "connections", "multiply_adds"):
        printed, computed = getattr(ledger.totals, quantity), getattr(sums, quantity)
        if printed is not None:
            yield _row(ledger.name, quantity, None, f"{printed:,}", f"{computed:,}", printed == computed)


def _totals_with_heads(ledger: facts.NetworkFacts, sums: Cost) -> Iterator[Row]:
    for quantity in ("parameters", "multiply_adds"):
        printed = getattr(ledger.totals, f"{quantity}_with_aux", None)
        if printed is not None:
            computed = getattr(sums, quantity)
            yield _row(ledger.name, f"{quantity}_with_aux", None, f"{printed:,}", f"{computed:,}", printed == computed)


def _layers(
    ledger: facts.NetworkFacts, records: Sequence[LayerRecord], by_name: dict[str, LayerRecord]
) -> Iterator[Row]:
    """The rows of the layer table; one row in place of all that hold where there is no table, or nobody has read it."""
    if not ledger.layers:
        if ledger.status != "partial":
            yield _uncovered_network(ledger, records, "the ledger has no layer table for it")
        return
    rows = [row for layer in ledger.layers for row in _layer(ledger.name, layer, by_name)]
    rows += _uncovered_layers(ledger, records)
    if ledger.structure_confidence.startswith(UNVERIFIED):
        yield from (row for row in rows if row.verdict == "fails")
        yield _uncovered_network(ledger, records, f"its layer table is {ledger.structure_confidence}")
    else:
        yield from rows


def _uncovered_network(ledger: facts.NetworkFacts, records: Sequence[LayerRecord], reason: str) -> Row:
    layers = {record.name for record in records if record.parameters or is_weight_layer(record)}
    text = f"{len(layers):,} layers with weights"
    return Row(ledger.name, "layers", None, "none verified", text, "uncovered", "", DERIVED, reason)


def _layer(network: str, layer: facts.LayerFacts, by_name: dict[str, LayerRecord]) -> Iterator[Row]:
    """One row per quantity where all layers of a pattern agree with the ledger, else one per layer that does not."""
    names = facts.expand(layer.name)
    present = [(name, by_name.get(name)) for name in names]
    for name, record in present:
        if record is None:
            yield _row(network, "operation", name, layer.op, None, False)
    found = [(name, record) for name, record in present if record is not None]
    for quantity, printed, read, as_text in _expectations(layer):
        values = [(name, read(record)) for name, record in found]
        wrong = [(name, value) for name, value in values if value != printed]
        for name, value in wrong:
            yield _row(network, quantity, name, as_text(printed), as_text(value), False)
        if values and not wrong:
            yield _row(network, quantity, layer.name, as_text(printed), as_text(values[0][1]), True)


def _expectations(
    layer: facts.LayerFacts,
) -> Iterator[tuple[str, Any, Callable[[LayerRecord], Any], Callable[[Any], str]]]:
    """(quantity, the ledger's value, how a record tells it, how it is shown) for all that is stated of a layer."""
    yield "operation", layer.op, lambda record: record.kind, str
    if layer.out is not None:
        yield "output", layer.out, lambda record: record.output_shape, _shape
    for quantity in ("kernel", "stride", "padding", "dilation"):
        stated = getattr(layer, quantity)
        if stated is not None:
            yield quantity, stated, lambda record, quantity=quantity: getattr(record, quantity), _shape
    if layer.op in ("conv", "deconv"):
        yield "groups", layer.groups, lambda record: record.groups, str
    for quantity, stated in (
        ("parameters", layer.params),
        ("connections", layer.connections),
        ("multiply_adds", layer.macs),
    ):
        if stated is not None:
            yield quantity, stated, lambda record, quantity=quantity: getattr(record, quantity), _integer


def _uncovered_layers(ledger: facts.NetworkFacts, records: Sequence[LayerRecord]) -> Iterator[Row]:
    """A failing row for each layer with weights that the table leaves out."""
    covered = {name for layer in ledger.layers for name in facts.expand(layer.name)}
    seen: set[str] = set()
    for record in records:
        if (record.parameters or is_weight_layer(record)) and record.name not in covered | seen:
            seen.add(record.name)
            text = f"{record.kind} with {record.parameters:,} parameters"
            yield _row(ledger.name, "layer", record.name, "none", text, False, reason="not in the ledger")


def _shape(value: Sequence[int] | None) -> str:
    return "none" if value is None else " x ".join(map(str, value))


def _integer(value: int | Decimal | None) -> str:
    return "not counted" if value is None else f"{value:,}"
