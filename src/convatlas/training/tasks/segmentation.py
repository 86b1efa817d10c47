"""Images with a mask each."""

from functools import partial

from convatlas.data import Loader, Split
from convatlas.data.segmentation.assembly import MaskAssembly
from convatlas.data.segmentation.augment import MASK_AUGMENTATIONS, MaskAugmentation
from convatlas.data.segmentation.splits import MaskSplit
from convatlas.evaluation.segmenter import evaluate_segmenter, output_margin
from convatlas.training.dense_losses import pixel_loss
from convatlas.training.dense_weights import mask_class_weights
from convatlas.training.losses import per_sample
from convatlas.training.recipe import Recipe
from convatlas.training.tasks.parts import Materials, Parts, Score, expect, refuse_others


def build(made_of: Materials) -> Parts:
    """Batches of images and masks, and the score of a segmenter on whole images."""
    recipe, data, preprocessing = made_of.recipe, made_of.data, made_of.preprocessing
    margin = output_margin(made_of.net, (preprocessing.channels, *preprocessing.size))
    masks = expect(data.train, MaskSplit)
    train = Loader(
        MaskAssembly(masks, preprocessing, augmentations(recipe), margin_px=margin),
        batch_size=recipe.batch_size,
        shuffle=True,
        seed=recipe.seed,
        device=made_of.processes.device,
        workers=made_of.workers,
        share=made_of.share,
        on_progress=made_of.on_loading,
    )

    def score(split: Split) -> Score:
        return partial(
            evaluate_segmenter,
            split=expect(split, MaskSplit),
            preprocessing=preprocessing,
            classes=data.classes,
            loss=per_sample(pixel_loss(recipe.loss)),
            device=made_of.processes.device,
            share=made_of.share,
            gather=made_of.processes.gather,
        )

    weights = mask_class_weights(recipe, masks, len(data.classes))
    return Parts(train, weights, score(data.test), None if data.val is None else score(data.val))


def augmentations(recipe: Recipe) -> tuple[MaskAugmentation, ...]:
    """The recipe's augmentations, which move masks with their images.

    Raises:
        UsageError: one does not.
    """
    steps = tuple(step for step in recipe.augment if isinstance(step, MaskAugmentation))
    refuse_others(recipe.augment, steps, f"knows no masks; expected {MASK_AUGMENTATIONS}")
    return steps
