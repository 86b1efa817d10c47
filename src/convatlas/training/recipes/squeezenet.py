"""How SqueezeNet was trained."""

from convatlas.data.augment import HorizontalFlip, RandomCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Cosine

ACCURACY = {
    "squeezenet_v1_0": "57.5% top-1 and 80.3% top-5",
    "squeezenet_v1_0_caffe_pad1": "57.5% top-1 and 80.3% top-5",
    "squeezenet_v1_0_simple_bypass": "60.4% top-1 and 82.5% top-5",
    "squeezenet_v1_0_complex_bypass": "58.8% top-1 and 82.0% top-5",
    "squeezenet_v1_1": "at least 80.3% top-5",
}

RECIPES = tuple(
    Recipe(
        network=network,
        variant="published",
        source="Iandola et al. 2016, table 3; solver.prototxt of the release",
        expected=f"{accuracy} accuracy on ILSVRC-2012 validation, centre crop",
        cost="170,000 steps of 512 images",
        epochs=68,  # 170,000 steps of 512 over 1.28 million images
        batch_size=512,
        optimizer=SGD(lr=0.04, momentum=0.9, weight_decay=2e-4),
        schedule=Cosine(warm_up=0.0),
        augment=(RandomCrop((227, 227)), HorizontalFlip()),
        notes=("The paper's rate falls linearly to zero; here it falls to zero along half a cosine.",),
    )
    for network, accuracy in ACCURACY.items()
)
