"""Run by `matlab.py` in a process of its own: prints the variable RELEASE of a Matlab file as JSON.

scipy's reader can crash on a damaged file; a process of its own takes nothing else with it.
"""

import json
import sys
from typing import Any

MEMORY_BYTES = 4 << 30
_MAX_DEPTH = 40


def as_plain(value: Any, depth: int = 0) -> Any:
    """Structures as dictionaries, arrays as lists, numbers and text as they are."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    if hasattr(value, "_fieldnames"):
        return {name: as_plain(getattr(value, name), depth + 1) for name in value._fieldnames}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [as_plain(item, depth + 1) for item in value]
    return value if isinstance(value, int | float | str) else str(value)


def main(path: str) -> None:
    import resource

    from scipy.io import loadmat

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    release = loadmat(path, struct_as_record=False, squeeze_me=True, variable_names=["RELEASE"])["RELEASE"]
    json.dump(as_plain(release), sys.stdout)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception as error:  # scipy's readers of damaged files raise anything
        sys.exit(f"{type(error).__name__}: {error!s:.100}")
