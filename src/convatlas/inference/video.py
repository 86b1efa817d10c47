"""Frames of a video file or a camera, prepared as images are."""

from collections.abc import Iterator
from pathlib import Path

import torch

from convatlas.data import prepare
from convatlas.data.preprocess import convert_channels
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.predict import Reading, check_at_least_one
from convatlas.records import Preprocessing


def read_frames(source: str | Path | int, preprocessing: Preprocessing, *, every: int = 1) -> Iterator[Reading]:
    """Every `every`-th frame as ("<file>@<seconds>", uint8 (C, H, W)), until the video ends or the camera stops.

    Args:
        source: a video file, or the number of a camera.

    Raises:
        UsageError: `every` is below 1, or there is no such file.
        ConvatlasError: OpenCV is absent, or can't open it.
    """
    check_at_least_one(every=every)
    try:
        import cv2
    except ImportError as error:
        raise ConvatlasError("OpenCV is not installed; get it: pip install opencv-contrib-python-headless") from error
    camera = isinstance(source, int)
    if not camera and not Path(source).is_file():
        raise UsageError(f"video {source} does not exist; expected a video file")
    capture = cv2.VideoCapture(source if camera else str(source))
    if not capture.isOpened():
        raise ConvatlasError(
            f"camera {source} can't be opened" if camera else f"{source} is no video that OpenCV reads"
        )
    return _frames(capture, f"camera {source}" if camera else str(source), preprocessing, every)


def _frames(capture, name: str, preprocessing: Preprocessing, every: int) -> Iterator[Reading]:
    rate = capture.get(5) or 1.0  # CAP_PROP_FPS; 0 where a camera does not tell
    index = 0
    try:
        while capture.grab():
            if index % every == 0:
                good, pixels = capture.retrieve()
                if good:
                    image = torch.from_numpy(pixels).flip(-1).permute(2, 0, 1)  # OpenCV's order is BGR
                    image = convert_channels(image, preprocessing.channels)
                    yield f"{name}@{index / rate:.2f}s", prepare(image, preprocessing)
            index += 1
    finally:
        capture.release()
