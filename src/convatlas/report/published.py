"""Which of a paper's printed results a run may be laid beside, and what to say about the comparison."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)")


class PrintedResult(Protocol):
    """A row of the ledger's results, as `convatlas.facts` holds it."""

    @property
    def data(self) -> str: ...
    @property
    def quantity(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def confidence(self) -> str: ...


@dataclass(frozen=True)
class Published:
    """A printed test error."""

    error: float  # fraction
    printed: str  # as in the paper, e.g. "0.95% (+-0.1)"
    data: str
    protocol: str
    confidence: str


def published_error(network: str, variant: str, results: Iterable[PrintedResult]) -> Published | None:
    """The printed test error of this network, or None where no row can be read without guessing.

    A row counts when it is a test (or validation) error or top-1 error, and its protocol names the network, or its
    value lists depths ("20 8.75; 32 7.51") and one is the network's, or no row's protocol names any network. Of several
    the first counts; rows with distortions only for a recipe with distortions.
    """
    rows = [row for row in results if is_test_error(row)]
    wanted = [row for row in rows if ("distortion" in row.protocol.lower()) == ("distortion" in variant.lower())]
    for row in wanted or rows:
        if squeeze(network) in squeeze(row.protocol) and (match := NUMBER.match(row.value)):
            return Published(float(match[1]) / 100, row.value, row.data, row.protocol, row.confidence)
    depth = re.search(r"(\d+)$", network)
    for row in wanted if depth else ():
        match = re.search(rf"(?:^|; )(?:\w+-)?{depth[1]} (\d+(?:\.\d+)?)", row.value) if depth else None
        if match and ("cifar" in network) == ("CIFAR" in row.data):
            return Published(float(match[1]) / 100, f"{match[1]}%", row.data, row.protocol, row.confidence)
    if len(rows) == 1 and rows[0].protocol in ("", "raw") and (match := NUMBER.match(rows[0].value)):
        row = rows[0]
        return Published(float(match[1]) / 100, row.value, row.data, row.protocol, row.confidence)
    return None


def is_test_error(row: PrintedResult) -> bool:
    named = row.quantity in ("error", "top-1") or row.quantity.startswith("top-1/")
    return named and ("test" in row.data or "val" in row.data)


def squeeze(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def same_data(dataset: str, published: Published) -> bool:
    """ "mnist" is "MNIST test"."""
    return squeeze(published.data).startswith(squeeze(dataset))


def compare(
    published: Published | None, dataset: str, train_pictures: int | None, epochs: int, low: float, high: float
) -> str:
    """One honest sentence: what the printed and the reached number have in common. `low` and `high` are fractions."""
    amount = f" ({train_pictures:,} training pictures)" if train_pictures else ""
    here = f"{dataset}{amount}, {plural(epochs, 'pass', 'passes')}"
    if published is None:
        return f"The ledger holds no test error of this network that could be laid beside this run ({here})."
    setting = f"{published.data}{f' ({published.protocol})' if published.protocol else ''}"
    if not same_data(dataset, published):
        return (
            f"The two numbers answer different questions: the paper's is for {setting}, this run's for {here}. "
            "They stand side by side for orientation only."
        )
    printed_passes = re.search(r"(\d+) passes", published.protocol)
    if printed_passes and int(printed_passes[1]) != epochs:
        theirs = plural(int(printed_passes[1]), "pass", "passes")
        return f"Same data, but the paper trained for {theirs} and this run for {epochs}."
    if low <= published.error <= high:
        return f"The published error ({setting}) lies inside this run's 95% interval."
    side = "below" if high < published.error else "above"
    return f"This run's whole 95% interval lies {side} the published error ({setting})."


def plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
