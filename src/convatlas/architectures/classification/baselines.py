"""Designed features and a linear support vector machine: what the learned features replaced.

Dalal, Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005 (`hog_svm`).
Csurka, Dance, Fan, Willamowski, Bray, "Visual Categorization with Bags of Keypoints", ECCV workshop 2004, with the
descriptors of Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 60(2), 2004 (`sift_bow_svm`).

Follows  Dalal and Triggs, sections 4 and 6: no smoothing, 9 unsigned orientations, the gradient of the strongest
         channel, cells of 8 x 8 pixels, blocks of 2 x 2 cells at every cell, L2-Hys, a soft linear machine, C = 0.01.
         Csurka et al., sections 3 and 5: SIFT, a vocabulary of k-means, a histogram of words, linear one-against-all
         machines.
Departs  Dalal and Triggs look for people in windows of 64 x 128 pixels; our whole images are 64 x 64. They weight and
         interpolate the votes within a block, scikit-image does not. Csurka et al. take descriptors at interest
         points, of which small images have next to none: ours stand on a grid, 16 x 16 pixels every 8 pixels, and
         have a vocabulary of 200 (so Lazebnik, Schmid and Ponce, "Beyond Bags of Features", CVPR 2006).
Shapes   B batch, C channels, H x W map, F features, K classes, V words of the vocabulary, P places of the grid.

The features have no gradient. The machine is scikit-learn's; all that it learns is in the module's state.
"""

import numpy as np
import torch
from torch import Tensor, nn

from convatlas.errors import ConvatlasError
from convatlas.network import Network
from convatlas.registry import register

SIDE = 64  # pixels
CELL = 8
ORIENTATIONS = 9
BLOCKS = SIDE // CELL - 1  # along each side, one at every cell
PATCH, SPACING = 16, 8
WORDS = 200
CENTRES = range(PATCH // 2, SIDE - PATCH // 2 + 1, SPACING)
VOCABULARY_SAMPLES = 50_000  # descriptors from which the vocabulary is made


class Hog(nn.Module):
    """Histograms of oriented gradients.  (B, C, 64, 64) -> (B, 1764)"""

    num_features = BLOCKS * BLOCKS * 4 * ORIENTATIONS

    def forward(self, x: Tensor) -> Tensor:
        check_side(x)
        if x.is_meta:
            return x.new_empty(len(x), self.num_features)
        from skimage.feature import hog

        images = x.detach().permute(0, 2, 3, 1).cpu().double().numpy()
        features = [
            hog(
                image,
                orientations=ORIENTATIONS,
                pixels_per_cell=(CELL, CELL),
                cells_per_block=(2, 2),
                block_norm="L2-Hys",
                channel_axis=-1,
            )
            for image in images
        ]
        return torch.from_numpy(np.stack(features)).to(x)


class SiftWords(nn.Module):
    """How often each visual word occurs, as fractions.  (B, C, 64, 64) -> (B, 200)"""

    vocabulary: Tensor
    num_features = WORDS

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("vocabulary", torch.zeros(WORDS, 128))

    def describe(self, x: Tensor) -> Tensor:
        """The descriptors of the channels' mean, stretched to full contrast.  (B, C, 64, 64) -> (B, P, 128) uint8"""
        import cv2

        check_side(x)
        sift = cv2.SIFT.create()
        # a descriptor has 4 x 4 bins, each 1.5 times as wide as the keypoint
        places = [cv2.KeyPoint(float(column), float(row), PATCH / 6) for row in CENTRES for column in CENTRES]
        grey = x.detach().mean(dim=1)
        low, high = grey.amin(dim=(1, 2), keepdim=True), grey.amax(dim=(1, 2), keepdim=True)
        images = (255 * (grey - low) / (high - low).clamp_min(1e-6)).round().to(torch.uint8).cpu().numpy()
        descriptors = [sift.compute(image, places)[1] for image in images]
        return torch.from_numpy(np.stack(descriptors).round().astype(np.uint8))

    def words(self, descriptors: Tensor) -> Tensor:
        """Histograms over the nearest words.  (B, P, 128) -> (B, V)"""
        vocabulary = self.vocabulary.cpu()
        nearest = torch.cdist(descriptors.float(), vocabulary.expand(len(descriptors), -1, -1)).argmin(dim=2)  # (B, P)
        counts = torch.zeros(len(descriptors), WORDS).scatter_add_(1, nearest, torch.ones(nearest.shape))
        return counts / nearest.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        check_side(x)
        if x.is_meta:
            return x.new_empty(len(x), self.num_features)
        return self.words(self.describe(x)).to(x)

    def learn_vocabulary(self, descriptors: Tensor) -> None:
        """k-means over (some of) the descriptors.  (N, P, 128)"""
        from sklearn.cluster import KMeans

        every = descriptors.flatten(0, 1)
        chosen = every[:: max(1, -(-len(every) // VOCABULARY_SAMPLES))].float().numpy()
        distinct = len(np.unique(chosen, axis=0))
        if distinct < WORDS:
            raise ConvatlasError(f"the images have {distinct} different descriptors; expected at least {WORDS}")
        means = KMeans(WORDS, n_init="auto", max_iter=50, random_state=0).fit(chosen).cluster_centers_  # one start
        self.vocabulary.copy_(torch.from_numpy(means))


def check_side(x: Tensor) -> None:
    if tuple(x.shape[2:]) != (SIDE, SIDE):
        raise ValueError(f"images have {x.shape[2]} x {x.shape[3]} pixels; expected {SIDE} x {SIDE}")


@torch.no_grad()
def fit_machines(layer: nn.Linear, features: Tensor, labels: Tensor, *, penalty: float) -> None:
    """The weights of one-against-all linear machines.  (N, F), (N,)

    Args:
        penalty: C, of each unit of slack.

    A class without a sample gets weights of zero and a bias of -1: that is its machine's solution.

    Raises:
        ConvatlasError: fewer than two classes have samples.
    """
    from sklearn.svm import LinearSVC

    present = labels.unique()
    if len(present) < 2:
        raise ConvatlasError(f"a support vector machine needs samples of two classes; there are {len(present)}")
    machine = LinearSVC(C=penalty, loss="hinge", random_state=0, max_iter=20_000)
    machine.fit(features.double().numpy(), labels.numpy())
    weight, bias = torch.from_numpy(machine.coef_), torch.from_numpy(machine.intercept_)
    if len(present) == 2:  # scikit-learn then has one machine, which says yes to the second class
        weight, bias = torch.cat((-weight, weight)), torch.cat((-bias, bias))
    layer.weight.zero_()
    layer.bias.fill_(-1.0)
    layer.weight[present] = weight.to(layer.weight)
    layer.bias[present] = bias.to(layer.bias)


class Seen:
    """What a machine keeps of a pass until its end: something for each image, and the labels."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Tensor]] = []

    def add(self, features: Tensor, labels: Tensor) -> None:
        self._parts.append((features, labels))

    def take(self) -> tuple[Tensor, Tensor]:
        """(N, ...), (N,); then nothing is left."""
        features, labels = map(torch.cat, zip(*self._parts, strict=True))
        self._parts.clear()
        return features, labels

    def state(self) -> dict[str, Tensor]:
        if not self._parts:
            return {}
        features, labels = map(torch.cat, zip(*self._parts, strict=True))
        return {"features": features, "labels": labels}

    def restore(self, state: dict[str, Tensor]) -> None:
        self._parts = [(state["features"], state["labels"])] if state else []


class HogSVM(Network):
    """(B, C, 64, 64) -> (B, K) decision values, positive on the machine's own side."""

    def __init__(self, *, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.features = Hog()  # 1764
        self.svm = nn.Linear(Hog.num_features, num_classes)  # 10
        start_at_zero(self.svm)
        self._seen = Seen()

    def forward(self, x: Tensor) -> Tensor:
        return self.svm(self.features(x))

    def learn(self, images: Tensor, labels: Tensor) -> None:
        """Keeps the features; the machine is made from all of them at the end of the pass."""
        self._seen.add(self.features(images).cpu(), labels.cpu())

    def pass_state(self) -> dict[str, Tensor]:
        return self._seen.state()

    def load_pass_state(self, state: dict[str, Tensor]) -> None:
        self._seen.restore(state)

    def end_pass(self, epoch: int) -> None:
        features, labels = self._seen.take()
        fit_machines(self.svm, features, labels, penalty=0.01)


class SiftBowSVM(Network):
    """(B, C, 64, 64) -> (B, K) decision values, positive on the machine's own side."""

    def __init__(self, *, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.features = SiftWords()  # 200
        self.svm = nn.Linear(WORDS, num_classes)  # 10
        start_at_zero(self.svm)
        self._seen = Seen()

    def forward(self, x: Tensor) -> Tensor:
        return self.svm(self.features(x))

    def learn(self, images: Tensor, labels: Tensor) -> None:
        """Keeps the descriptors; vocabulary and machine are made from all of them at the end of the pass."""
        self._seen.add(self.features.describe(images), labels.cpu())

    def pass_state(self) -> dict[str, Tensor]:
        return self._seen.state()

    def load_pass_state(self, state: dict[str, Tensor]) -> None:
        self._seen.restore(state)

    def end_pass(self, epoch: int) -> None:
        descriptors, labels = self._seen.take()
        self.features.learn_vocabulary(descriptors)
        histograms = torch.cat([self.features.words(part) for part in descriptors.split(256)])
        fit_machines(self.svm, histograms, labels, penalty=10.0)


def start_at_zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


@register(paper="dalal2005_hog", input_shape=(3, SIDE, SIDE), num_classes=10)
def hog_svm(*, num_classes: int = 10, in_channels: int = 3) -> HogSVM:
    """Histograms of oriented gradients and a linear support vector machine: no feature is learned."""
    return HogSVM(num_classes=num_classes, in_channels=in_channels)


@register(paper="csurka2004_bags", input_shape=(3, SIDE, SIDE), num_classes=10)
def sift_bow_svm(*, num_classes: int = 10, in_channels: int = 3) -> SiftBowSVM:
    """SIFT descriptors counted by visual words, and a linear support vector machine."""
    return SiftBowSVM(num_classes=num_classes, in_channels=in_channels)
