"""Checkpoints that `torch.save` wrote, by torch's own restricted unpickler: nothing that a file names is ever executed.

What a file names besides tensors and plain containers (a namespace of arguments, a whole `nn.Module`) becomes an inert
dictionary of its fields, so that a state dict beside or inside it can be read all the same.
"""

import io
import pickletools
import re
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.serialization import safe_globals

from convatlas.data.limits import check_unpacked
from convatlas.errors import ConvatlasError
from convatlas.weights.formats.contents import damaged

# modules whose functions act on the machine, or call what they are given
_ACTIVE = frozenset((
    "asyncio", "builtins", "code", "codeop", "commands", "ctypes", "functools", "importlib", "io", "marshal",
    "multiprocessing", "nt", "operator", "os", "pathlib", "pickle", "platform", "posix", "pty", "runpy", "shutil",
    "signal", "site", "socket", "subprocess", "sys", "tempfile", "threading", "types", "urllib", "webbrowser",
))  # fmt: skip
# of those modules, classes of values; they become inert like all others
_PLAIN = frozenset((
    "builtins.bool", "builtins.complex", "builtins.dict", "builtins.float", "builtins.frozenset", "builtins.int",
    "builtins.list", "builtins.object", "builtins.range", "builtins.set", "builtins.slice", "builtins.str",
    "builtins.tuple", "functools.partial", "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePosixPath",
    "pathlib.WindowsPath", "types.SimpleNamespace",
))  # fmt: skip
_MAX_PICKLES = 8  # in a file of before torch 1.6: numbers, the contents, the keys of the storages
_MAX_NAMES = 1000
_MAX_TUPLES = 50  # one in another; a hash of deep ones would overflow the stack
_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")  # of what torch.save wrote before 1.6
_WAY_OUT = "torch.save(torch.load(FILE, weights_only=False), OUT)"


class Inert:
    """Stands for a class or function of a file: called or built, it gives a dictionary with the fields it is given."""

    def __new__(cls, *_: object, **__: object) -> object:
        return OrderedDict()


class InertState:
    """The same for those whose fields are no dictionary, such as numpy's numbers."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def read_pickled(path: Path) -> tuple[object, tuple[str, ...]]:
    """The contents of a file of `torch.save`, on the CPU, and the names of Python objects that were left inert.

    Raises:
        ConvatlasError: damaged, unfolds to more than the limit, another kind of file, or it would execute code. The
            message tells how to convert it.
    """
    with path.open("rb") as file:
        head, plain, content = file.read(16), False, file
        if head[:2] == b"PK":
            names = _archive_names(file, path)
        elif head[:3] in (b"\x1f\x8b\x08", b"BZh") or head[:6] == b"\xfd7zXZ\0":
            raise damaged(path, "it is compressed as a whole; unpack it first")
        elif not head.startswith((b"\x80", b"(", b"}", b"]")) and tarfile.is_tarfile(path):
            raise damaged(path, _of_tar(path))
        else:
            file.seek(0)
            content = io.BytesIO(file.read())  # of which no more can be asked for than there is
            names = _legacy_names(content, path)
            plain = _MAGIC not in head
        foreign = _refuse_active(names, path)
        if plain:
            raise damaged(
                path, "it is a pickle, not a file of torch.save; convert a file that you trust by "
                "torch.save(pickle.load(open(FILE, 'rb')), OUT)"
            )  # fmt: skip
        try:
            return _load(content, foreign), tuple(sorted(foreign))
        except MemoryError as error:
            raise damaged(path, "it takes more memory than there is") from error
        except Exception as error:  # damaged bytes raise whatever they happen to run into
            if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
                raise _executes(path, refused[1]) from error
            raise damaged(
                path, f"cut off, damaged, or no file of tensors that loads without executing code; convert a file that "
                f"you trust by {_WAY_OUT}"
            ) from error  # fmt: skip


def _load(content: BinaryIO, foreign: set[str]) -> Any:
    """torch.load with inert stand-ins; tried with both kinds, since only the file knows which it needs."""
    error: Exception | None = None
    for general in (Inert, InertState):
        content.seek(0)
        stand_ins: list[Any] = [
            (InertState if name.startswith(("numpy.", "pathlib.")) else general, name) for name in sorted(foreign)
        ]
        try:
            with warnings.catch_warnings(), safe_globals(stand_ins):
                warnings.simplefilter("ignore")  # on old pickle protocols, which load all the same
                return torch.load(content, map_location="cpu", weights_only=True)
        except Exception as caught:
            error = error or caught
            if not foreign:
                break
    raise error or ValueError("not read")


def _archive_names(file: BinaryIO, path: Path) -> set[str]:
    """The names of Python objects in an archive whose members unfold within the limit."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            check_unpacked(sum(member.file_size for member in members), f"weights {path}", path.stat().st_size)
            inner = {member.filename.partition("/")[2]: member for member in members}
            if "constants.pkl" in inner:
                raise damaged(
                    path,
                    "it is a TorchScript program; convert it by torch.save(torch.jit.load(FILE).state_dict(), OUT)",
                )
            if "data.pkl" not in inner:
                shown = ", ".join(member.filename for member in members[:3])
                raise damaged(path, f"it is an archive of {shown or 'nothing'}; expected one of torch.save")
            with archive.open(inner["data.pkl"]) as pickled:
                return _names(io.BytesIO(pickled.read()))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError, EOFError) as error:
        raise damaged(path, f"it is no archive of torch.save, cut off or damaged ({error})") from error


def _legacy_names(file: BinaryIO, path: Path) -> set[str]:
    """The same of a file of before torch 1.6: some pickles, and then the numbers."""
    names: set[str] = set()
    for count in range(_MAX_PICKLES):
        try:
            names |= _names(file)
        except ConvatlasError:
            raise
        except Exception as error:  # the numbers begin, or the file is damaged; torch will tell
            if count == 0:
                raise damaged(
                    path, f"cut off, damaged, or no file of tensors that loads without executing code; convert a file "
                    f"that you trust by {_WAY_OUT}"
                ) from error  # fmt: skip
            break
    return names


def _names(pickled: BinaryIO) -> set[str]:
    """The names of a pickle's classes and functions, without loading it."""
    names: set[str] = set()
    strings: list[str] = []
    tuples = 0
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ("GLOBAL", "INST"):
            names.add(str(argument).replace(" ", ".", 1))
        elif opcode.name == "STACK_GLOBAL":
            names.add(".".join(strings[-2:]))
        elif isinstance(argument, str) and "UNICODE" in opcode.name:
            strings = [*strings[-1:], argument]
        if "TUPLE" in opcode.name:
            tuples += 1
        elif opcode.name not in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE", "NONE", "MARK"):
            tuples = 0
        if tuples > _MAX_TUPLES or len(names) > _MAX_NAMES:
            raise ConvatlasError(
                "a pickle nests tuples deeper, or names more classes, than weights do; nothing of it was executed"
            )
    return names


def _refuse_active(names: set[str], path: Path) -> set[str]:
    """The names that torch does not know, all of them of values.

    Raises:
        ConvatlasError: one of them acts on the machine. It would be inert here; whoever wrote it meant otherwise.
    """
    known = {name for name in names if re.match(r"(torch|collections|_codecs)\.", name)} | {"__builtin__.set"}
    foreign = {re.sub(r"^__builtin__\.", "builtins.", name) for name in names - known}
    foreign |= {name for name in known & names if not _torch_takes(name)}
    for name in sorted(foreign):
        if name not in _PLAIN and name.partition(".")[0] in _ACTIVE:
            raise _executes(path, name)
    return foreign - {"builtins.set", "builtins.complex"}


def _torch_takes(name: str) -> bool:
    """Whether torch's unpickler knows what it is; of what it does not a stand-in is made."""
    values = ("torch._utils._rebuild", "torch._tensor._rebuild", "torch.serialization._get_layout", "_codecs.encode")
    if name.startswith(values) or name in ("collections.OrderedDict", "collections.Counter"):
        return True
    return re.fullmatch(r"torch(\.(storage|cuda|sparse))?\.\w+|torch\.nn\.parameter\.Parameter", name) is not None


def _executes(path: Path, name: str) -> ConvatlasError:
    return ConvatlasError(
        f"weights {path} hold Python objects ({name}), expected only tensors; nothing of it was executed; convert a "
        f"file that you trust by {_WAY_OUT}"
    )


def _of_tar(path: Path) -> str:
    try:
        with tarfile.open(path) as archive:
            names = [member.name for member, _ in zip(archive, range(8), strict=False)]
    except (tarfile.TarError, OSError, EOFError):
        return "it is a damaged tar archive"
    if {"pickle", "storages"} & set(names):
        return f"it is of torch 0.1, which kept tensors in a tar archive; convert a file that you trust by {_WAY_OUT}"
    return f"it is a tar archive of {', '.join(names[:3]) or 'nothing'}; unpack it first"
