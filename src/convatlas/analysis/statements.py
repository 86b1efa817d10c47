"""The surveys' statements against the live networks: each expression computed, and its verdict held to the ledger's.

Expressions are arithmetic over the functions of `FUNCTIONS`: `parameters('lenet5', 'C1')`, `1 - 27 / 49`. They are
walked as a syntax tree, never executed as Python.
"""

import ast
import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from convatlas import facts
from convatlas.analysis.receptive_field import receptive_fields
from convatlas.analysis.trace import trace_network
from convatlas.analysis.verify import QUANTITIES, select_layers, weight_layers
from convatlas.facts.statements import Judgement, Statement, Survey
from convatlas.records import LayerRecord

Value = int | float | Fraction | bool | str | tuple["Value", ...]


@dataclass(frozen=True)
class StatementRow:
    """One statement of a survey, and what came of it."""

    survey: str
    statement: Statement
    computed: str  # empty where nothing was computed
    agrees: bool | None  # with the computed or the printed value; None: neither is given

    @property
    def holds(self) -> bool:
        """Whether the ledger's verdict is the one that the comparison gives.

        A true statement has to agree and a false one must not. An imprecise one may do either, since its note tells
        under which reading it is right.
        """
        return self.agrees is None or self.statement.verdict in ("imprecise", "open") or (
            self.agrees == (self.statement.verdict == "true")
        )  # fmt: skip

    @property
    def verdict(self) -> Judgement:
        return self.statement.verdict


def check_survey(survey: Survey) -> tuple[StatementRow, ...]:
    """Every statement of a survey, computed.

    Raises:
        LedgerError: an expression is not one, or names a network, layer or function that does not exist.
    """
    return tuple(check_statement(survey.key, statement) for statement in survey.statements)


def check_statement(survey: str, statement: Statement) -> StatementRow:
    """One statement, computed.

    >>> row = Statement("c1", "4.1.2", ("lenet5",), "C1 has 156 parameters", "true", "156", "6 * (5 * 5 + 1)")
    >>> check_statement("chapter", row).computed
    '156'
    """
    where = f"facts/surveys/{survey}.toml: {statement.id}"
    if statement.compute:
        value = evaluate(statement.compute, where)
        return StatementRow(survey, statement, show(value), _agrees(statement, value))
    if statement.printed:
        return StatementRow(survey, statement, "", _same(statement.stated, statement.printed, statement.unit))
    return StatementRow(survey, statement, "", None)


def _agrees(statement: Statement, value: Value) -> bool:
    if isinstance(value, bool):
        return value is (statement.stated == "yes")
    if isinstance(value, str | tuple):
        return show(value) == statement.stated
    try:
        stated, unit = facts.parse_quantity(statement.stated)
    except ValueError as error:
        raise facts.LedgerError(f"{statement.id}: {error}") from None
    if statement.unit:
        unit, _ = facts.parse_quantity(statement.unit)
    return abs(Fraction(value) - Fraction(stated)) < Fraction(unit)


def _same(stated: str, printed: str, unit: str) -> bool:
    try:
        (one, _), (other, step) = facts.parse_quantity(stated), facts.parse_quantity(printed)
    except ValueError:
        return stated.casefold() == printed.casefold()
    if unit:
        step, _ = facts.parse_quantity(unit)
    return abs(one - other) < (step if unit else Decimal(step) / 2)


def show(value: Value) -> str:
    """A value as people write it: "60,000", "0.551", "28 x 28 x 6", "yes"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return " x ".join(show(item).replace(",", "") for item in value)
    if isinstance(value, Fraction) and value.denominator == 1:
        value = value.numerator
    return f"{value:,}" if isinstance(value, int) else f"{float(value):,.4g}"


@functools.cache
def _records(network: str) -> tuple[LayerRecord, ...]:
    return trace_network(network)


def _record(network: str, layer: str) -> LayerRecord:
    for record in _records(network):
        if record.name == layer:
            return record
    raise facts.LedgerError(f"{network} has no layer {layer!r}")


def _quantity(name: str) -> Callable[..., int]:
    def count(network: str, layer: str | None = None) -> int:
        records = _records(network)
        by_name = {record.name: record for record in reversed(records)}
        chosen = select_layers(layer, records, by_name)
        if not chosen:
            raise facts.LedgerError(f"{network} has no layer {layer!r}")
        return QUANTITIES[name](chosen, ())

    return count


def output(network: str, layer: str) -> tuple[int, ...]:
    """(H, W, C), the order in which surveys write shapes."""
    channels, *size = _record(network, layer).output_shape
    return (*size, channels)


def channels(network: str, layer: str) -> int:
    """Maps that a layer gives."""
    return _record(network, layer).output_shape[0]


def _side(name: str) -> Callable[[str, str], int]:
    def read(network: str, layer: str) -> int:
        sides = set(getattr(_record(network, layer), name) or ())
        if len(sides) != 1:
            raise facts.LedgerError(f"{network}: {layer} has no single {name}")
        return sides.pop()

    return read


def layers(network: str, kind: str, below: str = "") -> int:
    """How many operations of a kind the network has, below a module path if one is given."""
    return sum(record.kind == kind and record.name.startswith(below) for record in _records(network))


def convolutions(network: str, side: int = 0) -> int:
    """How many convolutions, or how many with a square kernel of a side."""
    kinds = ("conv", "sparse_conv")
    return sum(
        record.kind in kinds and (not side or set(record.kernel or ()) == {side}) for record in _records(network)
    )


def largest_kernel(network: str) -> int:
    return max(max(record.kernel or (0,)) for record in _records(network) if record.kind in ("conv", "sparse_conv"))


def before(network: str, first: str, second: str) -> bool:
    """Whether one layer runs before another."""
    names = [record.name for record in _records(network)]
    return names.index(_record(network, first).name) < names.index(_record(network, second).name)


def field(network: str, layer: str) -> int:
    """Receptive field of a layer, in pixels of the input; the side of the square."""
    records = _records(network)
    found = receptive_fields(records)[records.index(_record(network, layer))]
    if found is None:
        raise facts.LedgerError(f"{network}: {layer} has no receptive field")
    return max(found.size)


def chain_field(*layers: tuple[int, int]) -> int:
    """Receptive field of convolutions and pools in a row, each (kernel, stride)."""
    size, jump = 1, 1
    for kernel, stride in layers:
        size, jump = size + (kernel - 1) * jump, jump * stride
    return size


def slide(extent: int, kernel: int, stride: int, padding: int = 0) -> Fraction:
    """Positions of a window along one side, without rounding: (extent - kernel + 2 padding) / stride + 1."""
    return Fraction(extent - kernel + 2 * padding, stride) + 1


def paths(blocks: int, shortest: int, longest: int) -> Fraction:
    """The share of the 2^n paths through n residual blocks whose length lies in a range: a binomial distribution."""
    return Fraction(sum(math.comb(blocks, length) for length in range(shortest, longest + 1)), 2**blocks)


def convolve(a: tuple[tuple[int, ...], ...], b: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    """Full convolution of two matrices of integers."""
    from scipy.signal import convolve2d

    return tuple(tuple(int(value) for value in row) for row in convolve2d(a, b))


def year(paper: str) -> int:
    """When a paper of the ledger appeared, its preprint where it has one."""
    return facts.paper(paper).year


FUNCTIONS: dict[str, Callable[..., Value]] = {
    **{name: _quantity(name) for name in ("parameters", "weights", "connections", "multiply_adds", "units")},
    **{name: _side(name) for name in ("kernel", "stride", "padding")},
    "groups": lambda network, layer: _record(network, layer).groups or 1,
    "kind": lambda network, layer: _record(network, layer).kind,
    "depth": lambda network: weight_layers(_records(network)),
    "channels": channels,
    "output": output,
    "layers": layers,
    "convolutions": convolutions,
    "largest_kernel": largest_kernel,
    "before": before,
    "field": field,
    "chain_field": chain_field,
    "slide": slide,
    "paths": paths,
    "convolve": convolve,
    "year": year,
    "floor": math.floor,
    "ceil": math.ceil,
    "min": min,
    "max": max,
}

_ARITHMETIC: dict[type[ast.operator], Callable[..., Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: Fraction(a) / Fraction(b),
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[..., bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def evaluate(expression: str, where: str = "expression") -> Value:
    """The value of an expression.

    >>> show(evaluate("3 * 3 * 3 / (7 * 7)"))
    '0.551'

    Raises:
        LedgerError: not arithmetic over the functions of this module.
    """
    try:
        return _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, TypeError, ValueError, KeyError, ZeroDivisionError, facts.LedgerError) as error:
        raise facts.LedgerError(f"{where}: {expression!r} can't be computed: {error}") from error


def _value(node: ast.expr) -> Value:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.Tuple(elts=items):
            return tuple(map(_value, items))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _apply(lambda value: -value, operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _apply(_ARITHMETIC[type(op)], left, right)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(map(_value, values))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            return _apply(_COMPARISONS[type(op)], left, right)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return _apply(FUNCTIONS[name], *arguments)
    raise ValueError(f"{ast.unparse(node)} is not arithmetic over {', '.join(sorted(FUNCTIONS))}")


def _apply(function: Callable[..., Value], *arguments: ast.expr) -> Value:
    return function(*map(_value, arguments))
