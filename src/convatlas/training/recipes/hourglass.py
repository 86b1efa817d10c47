"""How the stacked hourglass was trained: heat maps at every stack, RMSprop, one fall of the rate."""

from convatlas.data.augment import HorizontalFlip
from convatlas.data.pose.transform import ChannelGain, RandomTurnAndScale
from convatlas.records import Preprocessing
from convatlas.training.dense_losses import HeatmapSquaredError
from convatlas.training.recipe import Recipe, RMSProp, in_steps
from convatlas.training.schedules import Plateau

EXPECTED = {
    1: "MPII validation: about 86 PCKh@0.5 (recalled)",
    2: "MPII validation: about 87.4 PCKh@0.5 (recalled)",
    8: "MPII test: 90.9 PCKh@0.5; FLIC: 99.0 elbow and 97.0 wrist PCK@0.2",
}
PEOPLE = 22_246  # of MPII's training images, without the 2,958 of the validation set
STEPS = 100 * 8_000  # opts.lua: epochs of 8,000 steps

RECIPES = tuple(
    in_steps(
        Recipe(
            network=f"stacked_hourglass_{stacks}",
            variant="published",
            source="Newell et al. 2016, sections 3 and 4.1; opts.lua and pose.lua of the authors' code",
            expected=expected,
            cost="about 3 days on a 12 GB Titan X, for 8 stacks",
            epochs=1,
            batch_size=6,
            optimizer=RMSProp(lr=2.5e-4, decay=0.99, eps=1e-8, momentum=0.0, form="torch"),
            schedule=Plateau(divisor=5.0, drops=1),
            loss=HeatmapSquaredError(),
            auxiliary_weight=1.0,
            augment=(RandomTurnAndScale(), HorizontalFlip(), ChannelGain()),
            preprocessing=Preprocessing((256, 256), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
            notes=(
                "Every stack's heat maps, a Gaussian of 1 px a joint, weigh the same.",
                "The paper prints +/- 30 degrees and 0.75 to 1.25; the code draws normal deviates, cut at twice the "
                "deviation, and leaves six of ten images upright. Here it is the code's.",
                "The number of steps is the code's: the paper prints a time.",
            ),
        ),
        STEPS,
        PEOPLE,
    )
    for stacks, expected in EXPECTED.items()
)
