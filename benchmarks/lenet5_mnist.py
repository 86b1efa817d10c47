"""LeNet-5 on MNIST by its published recipes, several seeds, beside the paper's 0.95% and 0.8%.

    python benchmarks/lenet5_mnist.py --data-root FOLDER [--variant published-distortions] [--seeds 0 1 2]

FOLDER holds mnist_train.npz and mnist_test.npz, or torchvision's MNIST. The result goes to benchmarks/results/.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from convatlas import data, registry
from convatlas.training import find, fit
from convatlas.training.run import environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--variant", default="published")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int)
    arguments = parser.parse_args()

    mnist = data.load("mnist", root=arguments.data_root)
    preprocessing = data.default_preprocessing(registry.card("lenet5"), mnist.train)
    recipe = find("lenet5", arguments.variant, preprocessing=preprocessing)
    recipe = replace(recipe, preprocessing=preprocessing, batch_size=arguments.batch_size or recipe.batch_size)
    runs = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            trained = fit(replace(recipe, seed=seed), mnist, Path(folder) / "run", device="cpu", on_epoch=print)
        runs.append({"seed": seed, "test_error": trained.evaluation.top1_error, "seconds": round(trained.seconds, 1)})
        print(runs[-1], flush=True)
    result = {
        "what": f"lenet5, {recipe.variant}, MNIST, batch {recipe.batch_size}",
        "published": recipe.expected,
        "date": datetime.now(UTC).date().isoformat(),
        "runs": runs,
        "mean_test_error": statistics.mean(run["test_error"] for run in runs),
        "environment": environment("cpu"),
    }
    name = f"lenet5_mnist_{recipe.variant}_batch{recipe.batch_size}.json"
    (Path(__file__).parent / "results" / name).write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
