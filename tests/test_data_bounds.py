"""Small files that unfold to much, nest deep or never end: refused in a sentence, with what raises the limit."""

import json
import os
from pathlib import Path

import pytest

from convatlas.data import limits
from convatlas.structures import ConvatlasError, UsageError


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return file


def test_pixels_above_the_limit_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    limits.check_pixels(8192, 8192)
    with pytest.raises(ConvatlasError, match=r"^a\.png: 20000 x 20000 pixels .* set CONVATLAS_MAX_PIXELS=400000000"):
        limits.check_pixels(20000, 20000, "a.png")
    monkeypatch.setenv("CONVATLAS_MAX_PIXELS", "400000000")
    limits.check_pixels(20000, 20000)
    for wrong in ("many", "-1", "0", "1e9", "9" * 5000, "\u0664"):
        monkeypatch.setenv("CONVATLAS_MAX_PIXELS", wrong)
        with pytest.raises(UsageError, match="CONVATLAS_MAX_PIXELS"):
            limits.check_pixels(1, 1)


def test_bytes_above_the_limit_are_refused_unless_they_were_stored_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    limits.check_unpacked(1 << 28, "a.npz")
    limits.check_unpacked(1 << 33, "a.npz", packed_bytes=1 << 33)
    with pytest.raises(ConvatlasError, match=r"a\.npz unfolds to 8,589,934,592 bytes.*CONVATLAS_MAX_UNPACKED_BYTES="):
        limits.check_unpacked(1 << 33, "a.npz", packed_bytes=1 << 20)
    monkeypatch.setenv("CONVATLAS_MAX_UNPACKED_BYTES", str(1 << 33))
    limits.check_unpacked(1 << 33, "a.npz", packed_bytes=1 << 20)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(ConvatlasError, match="not a regular file"):
            limits.read_text(path)
    with pytest.raises(OSError, match="directory"):
        limits.read_text(tmp_path)
    with pytest.raises(ConvatlasError, match="not a file name"):
        limits.read_text("a\0b")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_at_the_beginning_of_a_text_are_harmless(tmp_path: Path, encoding: str) -> None:
    assert limits.load_json(written(tmp_path, "a.json", '{"a": "ä"}'.encode(encoding))) == {"a": "ä"}
    assert limits.load_toml(written(tmp_path, "a.toml", 'a = "ä"\r\n'.encode(encoding))) == {"a": "ä"}
    assert limits.load_yaml(written(tmp_path, "a.yaml", "a: ä\r\n".encode(encoding))) == {"a": "ä"}


DEEP = 100_000
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12))
HOSTILE = {
    "deep.json": "[" * DEEP + "]" * DEEP,
    "deeper.json": '{"a":' * DEEP + "1" + "}" * DEEP,
    "hidden.json": '["]]]]]]]]]]]]", ' * DEEP + "1" + "]" * DEEP,
    "open.json": "[" * DEEP,
    "digits.json": "[" + "9" * 5000 + "]",
    "negative.json": "-" + "9" * 5000,
    "latin.json": b'{"a": "\xe4"}',
    "empty.json": "",
    "nul.json": "\0",
    "deep.toml": "a = " + "[" * DEEP + "]" * DEEP,
    "dotted.toml": ".".join(["a"] * 2000) + " = 1",
    "digits.toml": "a = " + "9" * 5000,
    "twice.toml": "a = 1\na = 2",
    "deep.yaml": "[" * DEEP + "]" * DEEP,
    "deeper.yaml": "{a: " * 200 + "1" + "}" * 200,
    "bomb.yaml": BOMB,
    "merges.yaml": MERGES,
    "itself.yaml": "&a [*a]",
    "digits.yaml": "a: " + "9" * 5000,
    "date.yaml": "2020-13-45",
    "executed.yaml": "!!python/object/apply:os.system [echo]",
    "key.yaml": "? [a]\n: 1",
    "tab.yaml": "a:\n\t- b",
    "control.yaml": "a: \x01",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_nests_or_counts_without_end_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    file = written(tmp_path, name, HOSTILE[name])
    load = {".json": limits.load_json, ".toml": limits.load_toml, ".yaml": limits.load_yaml}[file.suffix]
    with pytest.raises(ConvatlasError) as caught:
        load(file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_usual_files_are_read_whatever_their_strings_hold(tmp_path: Path) -> None:
    values = {"a": ["[" * 500, '\\"[[', {"b": [1, 2.5, None, True]}], "c": [[i, "{"] for i in range(1000)]}
    for spaces in (None, 1):
        assert limits.load_json(written(tmp_path, "a.json", json.dumps(values, indent=spaces))) == values
    assert limits.load_yaml(written(tmp_path, "a.yaml", "a: &a {x: 1}\nb: {<<: *a, y: 2}")) == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
    }
    assert limits.load_yaml(written(tmp_path, "b.yaml", "")) is None
    assert limits.load_json(written(tmp_path, "s.json", '["\\ud800", "\\ud83d\\ude00"]')) == ["\ufffd", "\U0001f600"]
