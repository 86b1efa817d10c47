"""The JSON files of a run, read with care: somebody may have edited them, and they may be cut off."""

from pathlib import Path
from typing import Any

from convatlas.data.limits import parse_json, read_text
from convatlas.errors import ConvatlasError

# entries that are computed with
_NUMBERS = frozenset((
    "epoch", "step", "images", "learning_rate", "seconds", "images_per_s", "train_loss", "train_error", "val_loss",
    "val_error", "test_loss", "test_error", "mean_iu", "pixel_accuracy", "boundary_f1", "ap", "ap50", "map", "mean_ap",
    "pck", "pck_without_trunk", "pckh", "foreground_rand_error", "pixel_error", "epochs",
))  # fmt: skip
_TEXTS = frozenset(("started", "protocol", "selection", "kept"))
_MAX_NUMBER = 1e18


def read_object(path: Path) -> dict[str, Any]:
    """The entries of `summary.json` or `environment.json`.

    Raises:
        ConvatlasError: it can't be read, or an entry that is computed with is no number.
    """
    return _checked(_parsed(_text(path), path), path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, one an epoch; a last one that was cut off is left out.

    Raises:
        ConvatlasError: it can't be read, or an entry that is computed with is no number.
    """
    rows = []
    for number, line in enumerate(_text(path).splitlines(keepends=True), start=1):
        if line.endswith("\n") and line.strip():
            place = f"{path}, line {number}"
            row = _checked(_parsed(line, place), place)
            if "seconds" not in row or "epoch" not in row:
                raise ConvatlasError(f"{place} is not an epoch of a run: it lacks epoch or seconds")
            rows.append(row)
    return rows


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise ConvatlasError(f"{path} can't be read: {error.strerror or error}") from error


def _parsed(text: str, place: object) -> Any:
    return parse_json(text, str(place))


def _checked(values: Any, place: object) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConvatlasError(f"{place} is not a JSON object, which a run has there")
    for name, value in values.items():
        if value is None:
            continue
        if name in _NUMBERS and not (type(value) in (int, float) and (value != value or abs(value) <= _MAX_NUMBER)):
            raise ConvatlasError(f"{place} has {name} {_short(value)}; expected a number")
        if name in _TEXTS and not isinstance(value, str):
            raise ConvatlasError(f"{place} has {name} {_short(value)}; expected text")
    return values


def _short(value: Any) -> str:
    text = "a number of thousands of digits" if type(value) is int and abs(value) >= 1 << 200 else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
