"""How ResNet-18 and 34 with option A were trained: as table 2 compares them with the plain networks."""

from convatlas.training.recipes.common import ilsvrc
from convatlas.training.recipes.resnet import he_recipe

RECIPES = (
    he_recipe("resnet18_a", (ilsvrc("10 crops", "27.88"),)),
    he_recipe("resnet34_a", (ilsvrc("10 crops", "25.03", "7.76"),)),
)
