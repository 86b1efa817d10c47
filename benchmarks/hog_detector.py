"""`hog_svm_detector` on marked images: what detection was worth before convolutional networks.

    python benchmarks/hog_detector.py --data FOLDER [--components 1] [--images N]

FOLDER is anything that `convatlas.data.detection.open_detection` opens. The result goes to benchmarks/results/.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path

from convatlas.data.detection import open_detection
from convatlas.evaluation.detector import summarise_detections
from convatlas.training.hog_detector import train_hog_svm
from convatlas.training.run import environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--components", type=int, default=1, help="templates of a class, by aspect")
    parser.add_argument("--images", type=int, help="of each part at most, to try it out")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()

    found = open_detection(arguments.data)
    train, test = (part.select(range(len(part))[: arguments.images]) for part in (found.train, found.test))
    started = time.perf_counter()
    detector = train_hog_svm(train, found.classes, components=arguments.components)
    training_s = time.perf_counter() - started
    evaluation = detector.evaluate(test)
    truth = [test.objects(index) for index in range(len(test))]
    by_2007 = summarise_detections(evaluation.detections, truth, found.classes, "voc07")
    result = {
        "what": f"hog_svm_detector on {found.name}: {len(train)} images for training, {len(test)} for testing",
        "date": datetime.now(UTC).date().isoformat(),
        "ap50_voc10": dict(zip(found.classes, evaluation.ap.tolist(), strict=True)),
        "mean_ap50_voc10": evaluation.mean_ap,
        "mean_ap50_voc07": by_2007.mean_ap,
        "training_s": round(training_s, 1),
        "seconds_a_image": round(evaluation.seconds / len(test), 3),
        "environment": environment("cpu"),
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / f"hog_detector_{found.name}.json"
    target.write_text(json.dumps(result, indent=2, default=str) + "\n", encoding="utf-8")
    print(target, result["ap50_voc10"], result["mean_ap50_voc10"], sep="\n")


if __name__ == "__main__":
    main()
