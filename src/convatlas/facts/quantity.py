"""Numbers as papers print them."""

import re
from decimal import Decimal

_SCALES = {
    "": 1,
    "%": Decimal("0.01"),
    "k": 10**3,
    "K": 10**3,
    "Ki": 2**10,
    "thousand": 10**3,
    "M": 10**6,
    "million": 10**6,
    "G": 10**9,
    "B": 10**9,
    "billion": 10**9,
    "T": 10**12,
}
_PATTERN = re.compile(
    r"~?(?P<digits>[+-]?(?:\d{1,3}(?:,\d{3})+|\d+))(?:\.(?P<decimals>\d+))?(?:e(?P<exponent>[+-]?\d+))?\s*(?P<scale>\D*)"
)


def parse_quantity(text: str) -> tuple[Decimal, Decimal]:
    """(value, one unit of the last printed digit), exact.

    Zeros before the decimal point count as printed digits: "60,000" is exact to 1, "60M" to a million.

    >>> parse_quantity("0.27M")
    (Decimal('270000.00'), Decimal('10000.00'))

    Raises:
        ValueError: the text is not one number with an optional exponent and scale.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None or match["scale"] not in _SCALES:
        raise ValueError(f"{text!r} is not a printed quantity; expected something like '60,000', '0.27M' or '3.8e9'")
    decimals = match["decimals"] or ""
    scale = Decimal(_SCALES[match["scale"]]).scaleb(int(match["exponent"] or 0))
    value = Decimal(f"{match['digits'].replace(',', '')}.{decimals}") * scale
    return value, Decimal(1).scaleb(-len(decimals)) * scale
