"""How the plain nets were trained: as the ResNets beside them, so that only the shortcuts differ."""

from convatlas.training.recipes.common import ilsvrc
from convatlas.training.recipes.resnet import he_cifar_recipe, he_recipe

IMAGENET_ERROR = {18: ("27.94", None), 34: ("28.54", "10.02")}
CIFAR_DEPTHS = (20, 32, 44, 56, 110)
GROWS = "an error that grows with the depth (figure 6, no number printed)"

RECIPES = (
    *(he_recipe(f"plain{depth}", (ilsvrc("10 crops", *error),)) for depth, error in IMAGENET_ERROR.items()),
    *(he_cifar_recipe(f"cifar_plain{depth}", GROWS, (), warm_up=False) for depth in CIFAR_DEPTHS),
)
