"""Arithmetic over the live networks: `parameters('lenet5', 'C1')`, `1 - 27 / 49`, `field('vgg_d', 'fc6')`.

Claims of papers and statements of surveys are settled by such expressions. They are walked as a syntax tree over the
functions of `FUNCTIONS`, never executed as Python.
"""

import ast
import functools
import math
import operator
from collections.abc import Callable
from fractions import Fraction

from convatlas import facts
from convatlas.analysis.quantities import QUANTITIES, select_layers, weight_layers
from convatlas.analysis.receptive_field import ReceptiveField, receptive_fields
from convatlas.analysis.trace import trace_network
from convatlas.records import LayerRecord

Value = int | float | Fraction | bool | str | tuple["Value", ...]


def agrees(value: Value, stated: str, unit: str = "", where: str = "expression") -> bool:
    """Whether a computed value is what was stated: less than one unit of the last printed digit away.

    >>> agrees(evaluate("27 / 49"), "55%"), agrees(evaluate("2 > 1"), "yes"), agrees((7, 7, 30), "7 x 7 x 30")
    (True, True, True)

    Raises:
        LedgerError: a number is compared with something that is not one.
    """
    if isinstance(value, bool):
        return value is (stated == "yes")
    if isinstance(value, str | tuple):
        return show(value) == stated
    try:
        number, step = facts.parse_quantity(stated)
    except ValueError as error:
        raise facts.LedgerError(f"{where}: {error}") from None
    if unit:
        step, _ = facts.parse_quantity(unit)
    return abs(Fraction(value) - Fraction(number)) < Fraction(step)


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


def _field(network: str, layer: str) -> ReceptiveField:
    records = _records(network)
    found = receptive_fields(records)[records.index(_record(network, layer))]
    if found is None:
        raise facts.LedgerError(f"{network}: {layer} has no receptive field")
    return found


def field(network: str, layer: str) -> int:
    """Receptive field of a layer, in pixels of the input; the side of the square."""
    return max(_field(network, layer).size)


def jump(network: str, layer: str) -> int:
    """Pixels of the input from one unit of a layer to its neighbour."""
    return round(max(_field(network, layer).stride))


def megabytes(network: str) -> Fraction:
    """Parameters in 32 bits, in 10^6 bytes."""
    return Fraction(4 * _quantity("parameters")(network), 10**6)


def boxes(network: str) -> int:
    """Boxes that a detector proposes for one image, by the rows of its last output."""
    return _records(network)[-1].output_shape[0]


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
    "jump": jump,
    "megabytes": megabytes,
    "boxes": boxes,
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
