"""How people read large numbers. CSV and JSON hold plain integers instead."""


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
