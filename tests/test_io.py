"""Files are written completely or not at all."""

import doctest
import os
import threading
from pathlib import Path

import pytest

from convatlas import io
from convatlas.io import replace_file, write_file


def test_text_and_bytes_arrive(tmp_path: Path) -> None:
    write_file(tmp_path / "a.txt", "ä\n")
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()
    write_file(str(tmp_path / "a.txt"), b"\x00")
    assert (tmp_path / "a.txt").read_bytes() == b"\x00"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write_file(tmp_path / "a.txt", "old")

    def fail() -> None:
        with replace_file(tmp_path / "a.txt") as aside:
            aside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_nothing_is_written_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "none" / "a.txt", "x")
    assert os.listdir(tmp_path) == []


def test_a_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    write_file(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_threads_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    contents = [str(index) * 200_000 for index in range(4)]
    threads = [threading.Thread(target=write_file, args=(tmp_path / "a", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in contents
    assert os.listdir(tmp_path) == ["a"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_file(tmp_path / "pipe", "through")
    reader.join()
    assert heard == ["through"]


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(io).failed == 0
