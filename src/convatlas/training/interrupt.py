"""SIGTERM and Ctrl-C end a run between two steps, with its state saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from convatlas.errors import ConvatlasError


class InterruptedRunError(ConvatlasError):
    """The run was asked to end, and its state is saved."""

    def __init__(self, sentence: str, received: int) -> None:
        super().__init__(sentence)
        self.exit_code = 128 + received


class Request:
    """Whether the run was asked to end, and by which signal."""

    received: int | None = None


@contextmanager
def listening() -> Iterator[Request]:
    """Notes SIGTERM and Ctrl-C instead of ending at once; the second of either ends at once.

    Only the main thread may listen; in another the request never comes.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: FrameType | None) -> None:
        request.received = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
