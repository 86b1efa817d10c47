"""How GoogLeNet, the Inception networks and Xception were trained."""

from convatlas.data.augment import ColourJitter, HorizontalFlip, RandomCrop, RandomResizedCrop
from convatlas.records import Preprocessing, PublishedResult
from convatlas.training.losses import CrossEntropy
from convatlas.training.mechanisms import ClipNorm, Ema, ParameterGroup, Polyak
from convatlas.training.recipe import SGD, Recipe, RMSProp, in_steps
from convatlas.training.recipes.common import (
    CAFFE_BIASES,
    CAFFE_MEAN,
    ILSVRC_IMAGES,
    KERNELS_DECAYED,
    NORMS_UNDECAYED,
    caffe_pixels,
    ilsvrc,
    pixels,
)
from convatlas.training.schedules import Drops, Polynomial, Staircase

POLYAK = "The paper does not say over which steps the parameters are averaged; here over the last quarter."
TENSORFLOW = Preprocessing(  # the release's: values from -1 to 1, of the middle 87.5% of both sides
    (299, 299), resize="stretch", resize_to=299, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), middle=0.875
)
RELEASE_CROP = RandomResizedCrop((299, 299), scale=(0.05, 1.0), ratio=(0.75, 1.33))
SLIM_MOMENTUM = 1 - 0.9997  # of batch normalisation, in torch's sense
KERAS_MOMENTUM = 1 - 0.99
RELEASE_COLOURS = ColourJitter(brightness=32 / 255, contrast=0.5, saturation=0.5, hue=0.2)


def _rmsprop(
    network: str,
    source: str,
    results: tuple[PublishedResult, ...],
    *,
    cost: str,
    epochs: int,
    weight: float = 0.0,
    groups: tuple[ParameterGroup, ...] = KERNELS_DECAYED,
    notes: tuple[str, ...] = (),
) -> Recipe:
    """Section 8 of the Rethinking paper, and section 4 of the one on Inception-v4, which repeats it."""
    return Recipe(
        network=network,
        variant="published",
        source=source,
        expected=str(results[0]),
        results=results,
        cost=cost,
        epochs=epochs,
        batch_size=32,
        optimizer=RMSProp(lr=0.045, decay=0.9, eps=1.0, momentum=0.9, weight_decay=4e-5),
        schedule=Staircase(factor=0.94, every=2, passes=epochs),
        loss=CrossEntropy(label_smoothing=0.1),
        auxiliary_weight=weight,
        augment=(RELEASE_CROP, HorizontalFlip(), RELEASE_COLOURS),
        preprocessing=TENSORFLOW,
        groups=groups,
        batch_norm_momentum=SLIM_MOMENTUM,
        clip=ClipNorm(2.0),
        averaging=Ema(0.9999),
        notes=(
            "Momentum inside RMSProp, weight decay (of kernels), the momentum of batch normalisation, crops, colours, "
            "input scale and the decay of the average, of which the paper says nothing, are those of the TensorFlow "
            "release.",
            "The replicas of the paper update the weights asynchronously; here one process does.",
            "The release draws the height of a crop, and keeps a tenth of the annotated object in it; here area and "
            "aspect are drawn, and the object's box is not looked at.",
            *notes,
        ),
    )


IN_KERAS = (
    "Decay is of kernels alone, and batch normalisation keeps 0.99 of its statistics: what Keras, in which the paper's "
    "experiments were written, does by default."
)
V4 = "Szegedy et al. 2016, section 4"
V3 = "Szegedy et al. 2015 (Rethinking), section 8 and table 3"
CLEAN = "of the images that are not blacklisted"  # table 2: 1,700 of the 50,000 are left out; table 3 has them all


def _v4(one: tuple[str, str], hundred: tuple[str, str]) -> tuple[PublishedResult, ...]:
    return ilsvrc(f"one crop, {CLEAN}", *one), ilsvrc("144 crops", *hundred)


def _bn_inception(network: str, variant: str, rate: float, passes: int, results: tuple[PublishedResult, ...]) -> Recipe:
    return Recipe(
        network=network,
        variant=variant,
        source=f"Ioffe and Szegedy 2015, section 4.2, BN-x{rate / 0.0015:.0f}",
        expected=str(results[0]),
        results=results,
        cost="some 5 million steps of 32 images",
        epochs=passes,
        batch_size=32,
        optimizer=SGD(lr=rate, momentum=0.9, weight_decay=8e-6),
        schedule=Staircase(factor=0.94, every=2, passes=passes),
        augment=(RandomResizedCrop((224, 224)), HorizontalFlip()),
        groups=KERNELS_DECAYED,
        batch_norm_momentum=SLIM_MOMENTUM,
        notes=(
            "The rate falls six times as fast as for Inception, of which the paper gives no numbers; the decay is "
            "that of the next paper, the weight decay (of kernels) a fifth of tf-slim's, the momentum of batch "
            "normalisation tf-slim's.",
            "The paper reduces the photometric distortions, without numbers; here there are none.",
        ),
    )


RECIPES = (
    Recipe(
        network="googlenet",
        variant="published",
        source="Szegedy et al. 2014, section 6",
        expected="10.07% top-5 error on ILSVRC-2012 validation, one crop; 7.89% with 144",
        results=(
            ilsvrc("one crop", None, "10.07"),
            ilsvrc("10 crops", None, "9.15"),
            ilsvrc("144 crops", None, "7.89"),
            ilsvrc("7 networks, one crop", None, "8.09"),
            ilsvrc("7 networks, 144 crops", None, "6.67"),
        ),
        cost='the paper names none but "a few high-end GPUs within a week" as an estimate',
        epochs=250,
        batch_size=32,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=2e-4),
        schedule=Staircase(factor=0.96, every=8, passes=250),
        auxiliary_weight=0.3,
        augment=(RandomResizedCrop((224, 224)), HorizontalFlip(), ColourJitter()),
        preprocessing=pixels(224, mean=CAFFE_MEAN),
        averaging=Polyak(),
        notes=(
            "The paper gives the momentum, the decay of 4% in 8 passes and the crops; rate, weight decay, batch size, "
            "input scale and the number of passes are those of Caffe's bvlc_googlenet (solver.prototxt, readme.md).",
            "The paper updates asynchronously, from several replicas; here one process does.",
            "The photometric distortions are Howard's, whom the paper cites; its random interpolation is not applied.",
            "The paper's submission looks at 144 crops, nearly ten times the work of a pass of training; "
            "the protocol 144-crop does.",
            POLYAK,
        ),
    ),
    in_steps(
        Recipe(
            network="googlenet",
            variant="caffe",
            source="Caffe, models/bvlc_googlenet/quick_solver.prototxt and train_val.prototxt",
            expected="68.7% top-1 and 88.9% top-5 accuracy on ILSVRC-2012 validation, centre crop",
            results=(ilsvrc("one crop", "31.3", "11.1"),),
            cost="2,400,000 steps of 32 images",
            epochs=60,
            batch_size=32,
            optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=2e-4),
            schedule=Polynomial(power=0.5),
            auxiliary_weight=0.3,
            augment=(RandomCrop((224, 224)), HorizontalFlip()),
            preprocessing=caffe_pixels(224, mean=CAFFE_MEAN),
            groups=CAFFE_BIASES,
            notes=("Images are stretched to 256 x 256 pixels, as Caffe's example makes the database that is named.",),
        ),
        2_400_000,
        ILSVRC_IMAGES,
    ),
    Recipe(
        network="googlenet_bn",
        variant="published",
        source="torchvision references/classification, the defaults; its weights were ported from TensorFlow",
        expected="69.8% top-1 and 89.5% top-5 accuracy on ILSVRC-2012 validation, centre crop (ported weights)",
        results=(ilsvrc("one crop, weights ported from TensorFlow", "30.2", "10.5"),),
        cost="90 passes over 1.28 million images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(1 / 3, 2 / 3)),
        auxiliary_weight=0.3,
        augment=(RandomResizedCrop((224, 224)), HorizontalFlip()),
    ),
    *(
        recipe
        for network in ("bn_inception", "bn_inception_paper", "bn_inception_slim")
        for recipe in (
            _bn_inception(network, "published", 0.0075, 125, (ilsvrc("one crop", "27.0"),)),
            _bn_inception(
                network,
                "published-x30",
                0.045,
                125,
                (ilsvrc("one crop", "25.2", "7.82"), ilsvrc("144 crops", "21.99", "5.82")),
            ),
        )
    ),
    _rmsprop(
        "inception_v2_rethinking",
        V3,
        (ilsvrc("one crop, the paper's filter banks", "22.8", "6.1"),),
        cost="100 passes on 50 replicas with a Kepler GPU each",
        epochs=100,
    ),
    _rmsprop(
        "inception_v3",
        V3,
        (ilsvrc("one crop", "21.2", "5.6"), ilsvrc("144 crops", "18.77", "4.2"), ilsvrc("12 crops", "19.47", "4.48")),
        cost="100 passes on 50 replicas with a Kepler GPU each",
        epochs=100,
        weight=0.4,
    ),
    *(
        _rmsprop(
            network,
            V4,
            results,
            cost="20 replicas with a Kepler GPU each",
            epochs=epochs,
            weight=weight,
            groups=groups,
            notes=("The paper clips gradients without saying where; here at 2, as the paper before it.",),
        )
        for network, results, epochs, weight, groups in (
            ("inception_v4", _v4(("20.0", "5.0"), ("17.7", "3.8")), 160, 0.0, KERNELS_DECAYED),
            ("inception_resnet_v1", _v4(("21.3", "5.5"), ("18.8", "4.3")), 200, 0.0, NORMS_UNDECAYED),
            ("inception_resnet_v2_paper", _v4(("19.9", "4.9"), ("17.8", "3.7")), 160, 0.0, NORMS_UNDECAYED),
            ("inception_resnet_v2_released", _v4(("19.9", "4.9"), ("17.8", "3.7")), 160, 0.4, NORMS_UNDECAYED),
        )
    ),
    Recipe(
        network="xception",
        variant="published",
        source="Chollet 2016, section 4.3",
        expected="79.0% top-1 and 94.5% top-5 accuracy on ILSVRC-2012 validation, one crop",
        results=(ilsvrc("one crop", "21.0", "5.5"),),
        cost="60 K80 GPUs for three days",
        epochs=100,
        batch_size=32,
        optimizer=SGD(lr=0.045, momentum=0.9, weight_decay=1e-5),
        schedule=Staircase(factor=0.94, every=2, passes=100),
        augment=(RandomResizedCrop((299, 299)), HorizontalFlip()),
        preprocessing=TENSORFLOW,
        groups=KERNELS_DECAYED,
        batch_norm_momentum=KERAS_MOMENTUM,
        averaging=Polyak(),
        notes=(
            POLYAK,
            "The paper gives neither the batch size nor the number of passes, and no augmentation.",
            IN_KERAS,
        ),
    ),
)
