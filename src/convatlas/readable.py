"""How people read numbers: no exponents, no NaN, units that fit. CSV and JSON hold plain numbers instead."""

import math


def integer(value: int | None) -> str:
    """60965224 -> "60,965,224"; nothing for zero, so that a table shows where the work is."""
    if value is None:
        return "not counted"
    return f"{value:,}" if value else ""


def scaled(value: int | None) -> str:
    """3857973248 -> "3.858 G"; nothing for zero, plain below ten thousand."""
    if value is None or value < 10_000:
        return integer(value)
    for power, prefix in ((9, "G"), (6, "M"), (3, "k")):
        if value >= 10**power:
            return f"{significant(value / 10**power)} {prefix}"
    raise AssertionError(value)


def memory(size_bytes: int) -> str:
    """1548800 -> "1.477 MiB"; nothing for zero."""
    if size_bytes == 0:
        return ""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size_bytes >= 1 << power:
            return f"{significant(size_bytes / (1 << power))} {unit}"
    return f"{size_bytes} B"


def significant(value: float) -> str:
    """Four digits, of which all of the integer part: 3.858, 724.4, 1023."""
    decimals = 3 if value < 10 else 2 if value < 100 else 1 if value < 1000 else 0
    return f"{value:.{decimals}f}"


def shape(value: tuple[int, ...]) -> str:
    """(3, 224, 224) -> "3 x 224 x 224"."""
    return " x ".join(map(str, value))


def amount(value: float | None, digits: int = 3) -> str:
    """So many significant digits, and all of the integer part: 2,143, 0.0912, 12.5; "-" for what is not known.

    >>> amount(2143.2), amount(0.091249), amount(1e7), amount(None)
    ('2,143', '0.0912', '10,000,000', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    decimals = digits - 1 - math.floor(math.log10(abs(round(value, decimals))))  # 9.996 has become 10
    text = f"{value:,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def milliseconds(value: float) -> str:
    """As many digits as a person compares: 0.34, 12.5, 1,204."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """ "0.4 s", "48 s", "12 min", "3.5 h", "2.1 days"."""
    for limit, unit, name in ((100, 1, "s"), (100 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:.0f} {name}"
    return f"{seconds / 86_400:.1f} days"
