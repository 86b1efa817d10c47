"""Arrays of series and volumes are told from those of images, and refused: data, augmentation and recipes are 2-D."""

from collections.abc import Sequence

_SHORT, _LONG = 4, 8  # a side this short, or this many times shorter than the other, is hardly one of a picture's
OWN_LOOP = "networks for them are built by convatlas.create(name, dims={dims}) and trained in a loop of your own"


def series_or_volumes(shape: Sequence[int]) -> str:
    """What to say of an array that holds series (N, C, L) or volumes (N, C, D, H, W); "" where it may hold images.

    Three axes are grey images (N, H, W) or series of C channels, which look alike. Those of a picture's proportions are
    taken for images; for others a channel axis says that they are.

    >>> series_or_volumes((200, 28, 28)), series_or_volumes((200, 1, 64, 1))
    ('', '')
    >>> series_or_volumes((200, 1, 64)).split(";")[0]
    'has shape (200, 1, 64), which may be series of 1 channel and 64 steps'
    """
    found = f"has shape {tuple(shape)}"
    if len(shape) <= 2:
        return f"{found}; expected images: (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"
    if len(shape) == 3 and looks_like_series(shape[1], shape[2]):
        channels = f"{shape[1]} channel{'s' if shape[1] != 1 else ''}"
        return (
            f"{found}, which may be series of {channels} and {shape[2]} steps; series are not trained on here: "
            f"{OWN_LOOP.format(dims=1)}. If they are images, give them a channel axis, x[..., None]: "
            f"(N, {shape[1]}, {shape[2]}, 1)"
        )
    if len(shape) >= 5:
        return f"{found}, which are volumes or videos; they are not trained on here: {OWN_LOOP.format(dims=3)}"
    return ""


def looks_like_series(first: int, second: int) -> bool:
    """Whether two sides are hardly those of an image: one of a few pixels, or a strip.

    >>> looks_like_series(1, 64), looks_like_series(12, 1000), looks_like_series(2, 2), looks_like_series(16, 100)
    (True, True, False, False)
    """
    short, long = sorted((first, second))
    return is_strip(first, second) or long >= _LONG * short > 0


def is_strip(first: int, second: int) -> bool:
    """Whether one side has a few pixels only and the other more."""
    short, long = sorted((first, second))
    return long > short > 0 and short <= _SHORT
