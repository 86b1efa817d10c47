"""How the machines before backpropagation learn, and the designed features that were there before learned ones."""

from convatlas.training.recipe import OwnRule, Recipe

RECIPES = (
    Recipe(
        network="perceptron",
        variant="published",
        source="Rosenblatt 1958; the error-correction rule after Novikoff 1962",
        expected="no error on patterns that the association layer makes linearly separable",
        cost="digits: one second; MNIST: 3 seconds a pass",
        epochs=20,
        batch_size=50,
        optimizer=OwnRule(),
        notes=(
            "One pattern at a time, whatever the batch size.",
            "The weights have no best scale, so the loss means nothing; the errors do.",
        ),
    ),
    *(
        Recipe(
            network=network,
            variant="published",
            source="Fukushima 1980, sections 3 and 4",
            expected="five drawn digits told apart, wherever they stand",
            cost="digits: a quarter of a minute",
            epochs=4,
            batch_size=50,
            optimizer=OwnRule(),
            notes=(
                *notes,
                "The paper presents each pattern 20 times, to all layers at once.",
                "One pass for each of three layers, without labels; in the fourth the planes get their names. Up to "
                "then "
                "the errors are those of chance.",
                "One pattern at a time, whatever the batch size.",
            ),
        )
        for network, notes in (
            (
                "neocognitron_1980",
                (
                    "For handwritten digits take neocognitron_handwriting: under the paper's constants "
                    "nearly all of them go to the same few planes.",
                ),
            ),
            ("neocognitron_handwriting", ("The selectivities are ours, not the paper's.",)),
        )
    ),
    Recipe(
        network="hog_svm",
        variant="published",
        source="Dalal and Triggs 2005, sections 4 and 6",
        expected="89% of people found at one false alarm in 10,000 windows (INRIA; not a task of this atlas)",
        cost="digits: 5 seconds",
        epochs=1,
        batch_size=64,
        optimizer=OwnRule(),
        notes=("The machine is made at the end of the pass, so the training columns are those of a blank one.",),
    ),
    Recipe(
        network="sift_bow_svm",
        variant="published",
        source="Csurka et al. 2004, sections 3 to 5; the grid of Lazebnik et al. 2006",
        expected="15% error on seven categories of photographs (Csurka et al., their own images)",
        cost="digits: 10 seconds",
        epochs=1,
        batch_size=64,
        optimizer=OwnRule(),
        notes=(
            "Vocabulary and machine are made at the end of the pass, so the training columns are those of a blank one.",
        ),
    ),
)
