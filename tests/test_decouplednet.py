"""DecoupledNet: its saliency is autograd's gradient, its two branches on `meta`, its answer put together by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from convatlas.analysis.trace import build_on_meta, trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.segmentation.decouplednet import ClassificationBranch, DecoupledNet, Evidence


def test_no_row_of_the_ledger_fails() -> None:
    assert [row for row in verify("decouplednet_voc") if row.verdict != "holds"] == []


def small_branch() -> ClassificationBranch:
    """The same bridging layers over 4 and 5 maps."""
    with torch.device("meta"):
        branch = ClassificationBranch(3, 3)
    branch.fc6, branch.fc7, branch.cls_score_voc = nn.Conv2d(4, 5, 7), nn.Conv2d(5, 5, 1), nn.Conv2d(5, 3, 1)
    return branch


def test_saliency_is_the_gradient_of_the_classes_scores() -> None:
    torch.manual_seed(0)
    branch, pool5 = small_branch(), torch.rand(2, 4, 9, 8, requires_grad=True)
    fc6 = branch.relu6(branch.fc6(pool5))
    fc7 = branch.relu7(branch.fc7(fc6))
    evidence = Evidence(branch.cls_score_voc(fc7), pool5, fc6, fc7, ())
    labels = torch.tensor([[0.7, 0, 0], [0, 0.9, 0.2]])
    (expected,) = torch.autograd.grad((evidence.scores.amax((2, 3)) * labels).sum(), pool5, retain_graph=True)
    found = branch.saliency(evidence, labels)
    assert found.shape == pool5.shape
    torch.testing.assert_close(found, expected)
    assert torch.equal(evidence.probabilities(), evidence.scores.amax((2, 3)).sigmoid())


def test_switches_of_the_first_branch_unpool_in_the_second() -> None:
    by_name = {record.name: record for record in trace_network("decouplednet_voc")}
    for level in range(1, 6):
        pool, unpool = by_name[f"classification.pool{level}"], by_name[f"segmentation.unpool{level}"]
        assert pool.index in unpool.inputs
        assert unpool.output_shape == pool.input_shapes[0]


def test_any_size_from_224_fits() -> None:
    net = build_on_meta("decouplednet_voc").eval()
    assert net(torch.empty(1, 3, 224, 250, device="meta")).shape == (1, 21, 224, 250)


class Scripted(nn.Module):
    """In place of a branch: what it is to give."""

    def __init__(self, *outputs: object) -> None:
        super().__init__()
        self.outputs = list(outputs)

    def forward(self, *_: Tensor) -> object:
        return self.outputs.pop(0)


def test_the_answer_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class 1 is there, class 2 is not: 0.3 background and 0.5 class become 3/8 and 5/8 of one pixel."""
    with torch.device("meta"):
        net = DecoupledNet(num_classes=3)
    scores = torch.tensor([2.0, -2.0]).view(1, 2, 1, 1)
    passes: list[list[float]] = []
    shares = {True: (0.3, 0.7), False: (0.5, 0.5)}

    def segment(evidence: Evidence, labels: Tensor) -> Tensor:
        passes.append(labels[0].tolist())
        first, second = shares[len(passes) == 1]
        return torch.tensor([first, second]).log().view(1, 2, 1, 1)

    net.classification = Scripted(Evidence(scores, scores, scores, scores, ()))  # pyright: ignore
    monkeypatch.setattr(net, "segment", segment)
    answer = net(torch.zeros(1, 3, 1, 1)).exp().flatten().tolist()
    assert answer == pytest.approx([3 / 8, 5 / 8, 0], abs=1e-6)
    seen = torch.tensor(2.0).sigmoid().item()
    assert passes == [pytest.approx([seen, 0]), pytest.approx([seen, 0])]  # class 2 has no pass of its own


@pytest.mark.parametrize("frozen", ["", "classification", "segmentation"])
def test_losses_by_hand(frozen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image with class 1 in two of its three known pixels, and one without any class, which teaches no pixel."""
    with torch.device("meta"):
        net = DecoupledNet(num_classes=3)
    scores = torch.tensor([[2.0, -1.0], [0.5, -3.0]]).view(2, 2, 1, 1)
    branch: nn.Module = Scripted(Evidence(scores, scores, scores, scores, ()))
    branch.cls_score_voc = nn.Conv2d(1, 2, 1)
    net.classification = branch  # pyright: ignore[reportAttributeAccessIssue]
    if frozen:
        net.get_submodule(frozen).requires_grad_(False)
    asked: list[Tensor] = []

    def segment(evidence: Evidence, labels: Tensor) -> Tensor:
        asked.append(labels)
        return torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(2, 2, 2, 2)

    monkeypatch.setattr(net, "segment", segment)
    masks = torch.tensor([[[0, 1], [1, 255]], [[0, 0], [0, 0]]])
    found = {name: value.item() for name, value in net.losses(torch.zeros(2, 3, 2, 2), masks).items()}
    softplus = torch.nn.functional.softplus(torch.tensor([-2.0, -1.0, 0.5, -3.0])).mean().item()
    miss, hit = math.log(1 + math.e), math.log(1 + 1 / math.e)
    expected = {"classes": softplus, "pixels": (miss + 2 * hit) / 3 / 2}
    expected.pop({"classification": "classes", "segmentation": "pixels"}.get(frozen, ""), None)
    assert found == pytest.approx(expected, abs=1e-6)
    seen = 1 / (1 + math.exp(-2.0))  # the bridge propagates the class times its probability
    assert all(labels[0].tolist() == pytest.approx([seen, 0]) for labels in asked)
