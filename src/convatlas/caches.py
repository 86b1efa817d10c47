"""Where what is remembered between uses lies, also for a user whose home can't be written to."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder that CONVATLAS_CACHE names, else the user's cache folder, else one of the user's among temporaries.

    It need not exist yet.
    """
    named = os.environ.get("CONVATLAS_CACHE")
    if named:
        return Path(named).expanduser()
    import platformdirs

    usual = platformdirs.user_cache_path("convatlas", appauthor=False)
    return usual if can_be_written(usual) else _temporary()


def can_be_written(path: Path) -> bool:
    """Whether a folder, or the nearest one above that exists, takes new files."""
    for folder in (path, *path.parents):
        try:
            if folder.exists():
                return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
        except OSError:  # a folder above can't be entered
            continue
    return False


def settle_matplotlib() -> None:
    """Gives matplotlib a folder, where its own can't be written to: it would warn of that whenever it is imported."""
    if "MPLCONFIGDIR" in os.environ:
        return
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    if not can_be_written(Path(home, "matplotlib")):
        folder = cache_folder() / "matplotlib"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        os.environ["MPLCONFIGDIR"] = str(folder)


def _temporary() -> Path:
    import tempfile

    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir(), f"convatlas-{user}")
