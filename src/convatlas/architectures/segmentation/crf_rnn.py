"""CRF-RNN: mean-field inference in a fully connected CRF, unrolled as layers behind FCN-8s and learned with it.

Zheng, Jayasumana, Romera-Paredes, Vineet, Su, Du, Huang, Torr, "Conditional Random Fields as Recurrent Neural
Networks", ICCV 2015, arXiv:1502.03240.

Follows  Sections 4 and 6: five iterations in training and ten at test time; kernel weights and the compatibility are
         K x K matrices that learn, from 5, 3 and Potts. Deviations are those of the authors' release, 160 px, 3 of 255
         colours, 3 px. Layer names are FCN's and `crf`.
Departs  The release takes images of 500 x 500 alone.
Shapes   B batch, H x W image, K classes.
"""

from torch import Tensor

from convatlas.architectures.segmentation.fcn import FCN8sVGG16
from convatlas.blocks.mean_field import MeanField
from convatlas.registry import register


class CRFRNN(FCN8sVGG16):
    """(B, in_channels, H, W) -> (B, K, H, W) logits. Images have values of 0 to 255, less a mean."""

    own_layers = ("crf.",)

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.crf = MeanField(num_classes)  # 21 x 500 x 500

    def forward(self, x: Tensor) -> Tensor:
        return self.crf(super().forward(x), x)


@register(task="segmentation", paper="zheng2015_crfrnn", input_shape=(3, 500, 500), num_classes=21)
def crf_rnn_fcn8s_voc(*, num_classes: int = 21, in_channels: int = 3) -> CRFRNN:
    """CRF-RNN: FCN-8s and five iterations of mean field, learned together; starts from FCN-8s."""
    return CRFRNN(num_classes=num_classes, in_channels=in_channels)
