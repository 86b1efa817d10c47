"""The paper's BN-Inception is trained as the one whose first layer is plain: both have the paper's recipes."""

from dataclasses import replace

from convatlas.training.recipes import inception

RECIPES = tuple(
    replace(recipe, network="bn_inception_paper") for recipe in inception.RECIPES if recipe.network == "bn_inception"
)
