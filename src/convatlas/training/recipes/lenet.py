"""How the LeNets were trained."""

from dataclasses import replace

from convatlas.data.augment import AffineDistortion
from convatlas.records import PublishedResult
from convatlas.training.losses import MaximumAPosteriori, SquaredError
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.recipe import SGD, DiagonalLM, Recipe, in_steps
from convatlas.training.schedules import Inverse, Passes

# LeCun et al. 1998, section III.C: the global learning rates of the 20 passes.
LENET5_RATES = (*2 * (5e-4,), *3 * (2e-4,), *3 * (1e-4,), *4 * (5e-5,), *8 * (1e-5,))

ONLINE = (
    "The paper updates after every pattern. Here the gradients of 10 patterns are summed before an update; the step "
    "sizes stay those of one pattern. A batch of 1 is the paper to the letter, and some six times slower."
)

LOSS = (
    "The paper prints neither the j of its equation 9 nor a factor before the sum, against which its mu is measured: "
    "here j = 10 and 0.03, which are ours. With the bare sum F6 saturates and nothing is learned."
)

LENET5 = Recipe(
    network="lenet5",
    variant="published",
    source="LeCun et al. 1998, sections III.B and III.C, appendix C",
    expected="0.95% (+-0.1) test error on MNIST after 20 passes over 60,000 patterns",
    results=(PublishedResult("MNIST test", "20 passes", "0.95"),),
    cost="MNIST: 10 to 19 minutes, measured on one core of a busy machine",
    epochs=20,
    small_data_epochs=50,
    batch_size=10,
    optimizer=DiagonalLM(mu=0.02, patterns=500),
    schedule=Passes(LENET5_RATES),
    loss=MaximumAPosteriori(),
    notes=(ONLINE, LOSS),
)

RECIPES = (
    LENET5,
    replace(
        LENET5,
        variant="published-distortions",
        expected="0.8% test error on MNIST, 540,000 distorted patterns added to the 60,000",
        results=(PublishedResult("MNIST test", "with distortions", "0.8"),),
        augment=(AffineDistortion(originals=0.1),),
        notes=(ONLINE, LOSS, "Distorted patterns are drawn anew in every pass, not once before training."),
    ),
    Recipe(
        network="lenet_1989",
        variant="published",
        source="LeCun et al. 1989, Neural Computation 1(4), section 4",
        expected="5.0% test error on 2,007 zip-code digits (not MNIST) after 23 passes over 7,291 patterns",
        results=(PublishedResult("zip code test", "23 passes", "5.0"),),
        cost="23 passes over 7,291 patterns",
        epochs=23,
        small_data_epochs=92,
        batch_size=10,
        optimizer=DiagonalLM(mu=0.02, patterns=500),
        schedule=Passes((5e-4,)),
        loss=SquaredError(),
        notes=(
            ONLINE,
            "The paper names a diagonal second-order method without its constants; these are LeNet-5's.",
        ),
    ),
    in_steps(
        Recipe(
            network="caffe_lenet",
            variant="published",
            source="Caffe, examples/mnist/lenet_solver.prototxt; the log in readme.md",
            expected="98.97% test accuracy on MNIST after 10,000 steps",
            results=(PublishedResult("MNIST test", "10,000 steps", "1.03"),),
            cost="10,000 steps of 64 images",
            epochs=11,
            batch_size=64,
            optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=5e-4),
            schedule=Inverse(gamma=1e-4, power=0.75, published_steps=10_000),
            groups=(ParameterGroup(of="bias", lr_scale=2.0),),
        ),
        10_000,
        60_000,
    ),
)
