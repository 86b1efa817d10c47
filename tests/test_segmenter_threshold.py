"""A threshold of two-class segmenters: the second class is taken from a probability on."""

import pytest
import torch
from torch import nn

from convatlas.errors import UsageError
from convatlas.evaluation.segmenter import Segmenter
from convatlas.evaluation.threshold import check_binary
from convatlas.inference.maps import look
from convatlas.records import Preprocessing


class Evidence(nn.Module):
    """Logits that make the second class as probable as the grey value says."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = x[:, :1].clamp(1e-3, 1 - 1e-3) * self.gain
        return torch.cat([(1 - p).log(), p.log()], dim=1)


def segmenter(threshold: float | None) -> Segmenter:
    preprocessing = Preprocessing((4, 4), channels=1, resize="none", mean=(0.0,), std=(1.0,))
    return Segmenter(Evidence().eval(), preprocessing, threshold=threshold)


@pytest.mark.parametrize(
    ("threshold", "taken"), [(None, [0, 0, 1, 1]), (0.5, [0, 0, 1, 1]), (0.25, [0, 1, 1, 1]), (0.95, [0, 0, 0, 0])]
)
def test_the_second_class_is_taken_from_the_threshold_on(threshold, taken):
    image = torch.tensor([[20, 80, 180, 230]] * 4, dtype=torch.uint8)[None]  # 0.08, 0.31, 0.71, 0.90
    prediction = look(segmenter(threshold), "grey.png", image)
    assert prediction.mask[0].tolist() == taken
    probability = image[0].float() / 255
    expected = torch.where(prediction.mask == 1, probability, 1 - probability)
    torch.testing.assert_close(prediction.certainty, expected, atol=1e-4, rtol=0)


def test_more_classes_have_no_threshold():
    with pytest.raises(UsageError, match="threshold decides between two classes; this network tells 3 apart"):
        check_binary(("sky", "tree", "road"))
