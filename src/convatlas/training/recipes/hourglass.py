"""How the stacked hourglass was trained: heat maps at every stack, RMSprop, one fall of the rate."""

from convatlas.training.dense_losses import HeatmapSquaredError
from convatlas.training.recipe import Recipe, RMSProp
from convatlas.training.schedules import Plateau

EXPECTED = {
    1: "MPII validation: about 86 PCKh@0.5 (recalled)",
    2: "MPII validation: about 87.4 PCKh@0.5 (recalled)",
    8: "MPII test: 90.9 PCKh@0.5; FLIC: 99.0 elbow and 97.0 wrist PCK@0.2",
}

RECIPES = tuple(
    Recipe(
        network=f"stacked_hourglass_{stacks}",
        variant="published",
        source="Newell et al. 2016, section 3.3; opts.lua of the authors' code",
        expected=expected,
        cost="about 3 days on a 12 GB Titan X, for 8 stacks",
        epochs=100,
        batch_size=6,
        optimizer=RMSProp(lr=2.5e-4, decay=0.99, eps=1e-8, momentum=0.0, form="torch"),
        schedule=Plateau(divisor=5.0, drops=1),
        loss=HeatmapSquaredError(),
        auxiliary_weight=1.0,
        notes=(
            "Every stack's heat maps, a Gaussian of 1 px a joint, weigh the same.",
            "Images are cut around the person, turned by up to 30 degrees, and scaled by 0.75 to 1.25.",
            "The number of passes is ours: the paper prints a time.",
        ),
    )
    for stacks, expected in EXPECTED.items()
)
