"""Selective search on disk: worked out once, and damage that is named."""

from pathlib import Path

import pytest
import torch

from convatlas.data.detection import proposals
from convatlas.data.detection.proposals import ProposalCache
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation.detection import proposal_recall
from convatlas.ops.selective_search import selective_search
from convatlas.records import Objects


def squares() -> torch.Tensor:
    image = torch.zeros(3, 120, 160)
    image[0, 20:60, 30:90] = 255
    image[1, 70:110, 100:150] = 200
    return image


def test_a_image_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ProposalCache(tmp_path / "new")
    found = cache(squares())
    assert torch.equal(found, selective_search(squares()))
    monkeypatch.setattr(proposals, "search", lambda *_, **__: pytest.fail("searched again"))
    assert torch.equal(ProposalCache(tmp_path / "new")(squares()), found)
    assert torch.equal(ProposalCache(tmp_path / "new", limit=2)(squares()), found[:2])
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".npy"]


def test_another_image_is_another_file(tmp_path: Path) -> None:
    cache = ProposalCache(tmp_path)
    cache(squares())
    cache(squares().flip(2))
    assert len(list(tmp_path.iterdir())) == 2


def test_recall_of_plain_rectangles(tmp_path: Path) -> None:
    boxes = torch.tensor([[30.0, 20, 90, 60], [100, 70, 150, 110]])
    marked = Objects(boxes, torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool))
    found = proposal_recall([ProposalCache(tmp_path)(squares())], [marked], thresholds=(0.5, 0.8))
    assert found.recall.tolist() == [1, 1]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    cache = ProposalCache(tmp_path)
    cache(squares())
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"no boxes")
    with pytest.raises(ConvatlasError, match=f"{path.name}: not the proposals of an image"):
        cache(squares())


def test_limits_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="limit is 0; expected at least 1"):
        ProposalCache(tmp_path, limit=0)
