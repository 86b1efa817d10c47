"""How GoogLeNet, the Inception networks and Xception were trained."""

from convatlas.data.augment import HorizontalFlip, RandomCrop, RandomResizedCrop
from convatlas.training.losses import CrossEntropy
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Drops, Passes

AVERAGE = "The paper tests with a running average of the parameters; here the parameters themselves are the result."
RMSPROP = (
    "The paper uses RMSProp with decay 0.9 and epsilon 1.0; here its earlier choice, momentum of 0.9, which it "
    "reports as slightly worse. Gradients are not clipped."
)


def _decay(rate: float, factor: float, every: int, epochs: int) -> Passes:
    """`rate` times `factor` after each `every` passes."""
    return Passes(tuple(rate * factor ** (epoch // every) for epoch in range(epochs)))


def _rmsprop(
    network: str,
    source: str,
    expected: str,
    *,
    cost: str,
    epochs: int,
    weight: float = 0.0,
    notes: tuple[str, ...] = (),
) -> Recipe:
    """Section 8 of the Rethinking paper, and section 4 of the one on Inception-v4, which repeats it."""
    return Recipe(
        network=network,
        variant="published",
        source=source,
        expected=expected,
        cost=cost,
        epochs=epochs,
        batch_size=32,
        optimizer=SGD(lr=0.045, momentum=0.9, weight_decay=4e-5),
        schedule=_decay(0.045, 0.94, 2, epochs),
        loss=CrossEntropy(label_smoothing=0.1),
        auxiliary_weight=weight,
        augment=(RandomResizedCrop((299, 299)), HorizontalFlip()),
        notes=(RMSPROP, AVERAGE, "The weight decay, of which the paper says nothing, is tf-slim's.", *notes),
    )


V4 = "Szegedy et al. 2016, section 4"
ERROR = "on ILSVRC-2012 validation, one crop"

RECIPES = (
    Recipe(
        network="googlenet",
        variant="published",
        source="Szegedy et al. 2014, section 6",
        expected=f"10.07% top-5 error {ERROR}",
        cost='the paper names none but "a few high-end GPUs within a week" as an estimate',
        epochs=250,
        batch_size=32,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=2e-4),
        schedule=_decay(0.01, 0.96, 8, 250),
        auxiliary_weight=0.3,
        augment=(RandomResizedCrop((224, 224)), HorizontalFlip()),
        notes=(
            "The paper gives the momentum, the decay of 4% in 8 passes and the crops; rate, weight decay and batch "
            "size are those of Caffe's bvlc_googlenet, and the number of passes is ours.",
            "Photometric distortions are not applied.",
            AVERAGE,
        ),
    ),
    Recipe(
        network="googlenet",
        variant="caffe",
        source="Caffe, models/bvlc_googlenet/solver.prototxt",
        expected="68.7% top-1 and 88.9% top-5 accuracy on ILSVRC-2012 validation, centre crop",
        cost="2,400,000 steps of 32 images",
        epochs=60,
        batch_size=32,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=2e-4),
        schedule=_decay(0.01, 0.96, 8, 60),  # 320,000 steps are eight passes
        auxiliary_weight=0.3,
        augment=(RandomCrop((224, 224)), HorizontalFlip()),
    ),
    Recipe(
        network="googlenet_bn",
        variant="published",
        source="torchvision references/classification, the defaults; its weights were ported from TensorFlow",
        expected="69.8% top-1 and 89.5% top-5 accuracy on ILSVRC-2012 validation, centre crop (ported weights)",
        cost="90 passes over 1.28 million images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(1 / 3, 2 / 3)),
        auxiliary_weight=0.3,
        augment=(RandomResizedCrop((224, 224)), HorizontalFlip()),
    ),
    *(
        Recipe(
            network=network,
            variant="published",
            source="Ioffe and Szegedy 2015, section 4.2, BN-x5",
            expected="73.0% top-1 accuracy on ILSVRC-2012 validation, one crop; 72.2% after 2.1 million steps",
            cost="some 5 million steps of 32 images",
            epochs=125,
            batch_size=32,
            optimizer=SGD(lr=0.0075, momentum=0.9, weight_decay=8e-6),
            schedule=_decay(0.0075, 0.94, 2, 125),
            augment=(RandomResizedCrop((224, 224)), HorizontalFlip()),
            notes=(
                "The rate falls six times as fast as for Inception, of which the paper gives no numbers; the decay is "
                "that of the next paper, the weight decay a fifth of tf-slim's.",
            ),
        )
        for network in ("bn_inception", "bn_inception_slim")
    ),
    _rmsprop(
        "inception_v2_rethinking",
        "Szegedy et al. 2015 (Rethinking), section 8",
        f"23.4% top-1 error {ERROR} (the paper's filter banks)",
        cost="100 passes on 50 replicas with a Kepler GPU each",
        epochs=100,
    ),
    _rmsprop(
        "inception_v3",
        "Szegedy et al. 2015 (Rethinking), section 8",
        f"21.2% top-1 and 5.6% top-5 error {ERROR}",
        cost="100 passes on 50 replicas with a Kepler GPU each",
        epochs=100,
        weight=0.3,
    ),
    *(
        _rmsprop(
            network, V4, f"{error} {ERROR}", cost="20 replicas with a Kepler GPU each", epochs=epochs, weight=weight
        )
        for network, error, epochs, weight in (
            ("inception_v4", "20.0% top-1 and 5.0% top-5 error", 160, 0.0),
            ("inception_resnet_v1", "21.3% top-1 and 5.5% top-5 error", 200, 0.0),
            ("inception_resnet_v2_paper", "19.9% top-1 and 4.9% top-5 error", 160, 0.0),
            ("inception_resnet_v2_released", "19.9% top-1 and 4.9% top-5 error", 160, 0.4),
        )
    ),
    Recipe(
        network="xception",
        variant="published",
        source="Chollet 2016, section 4.3",
        expected="79.0% top-1 and 94.5% top-5 accuracy on ILSVRC-2012 validation, one crop",
        cost="60 K80 GPUs for three days",
        epochs=100,
        batch_size=32,
        optimizer=SGD(lr=0.045, momentum=0.9, weight_decay=1e-5),
        schedule=_decay(0.045, 0.94, 2, 100),
        augment=(RandomResizedCrop((299, 299)), HorizontalFlip()),
        notes=(AVERAGE, "The paper gives neither the batch size nor the number of passes."),
    ),
)
