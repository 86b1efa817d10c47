"""What differs between the tasks in reading data: one table, with the registry's tasks as its keys."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convatlas.data import defaults
from convatlas.data.annotated import load_boxes, load_masks, load_people
from convatlas.data.choice import detector_preprocessing, person_preprocessing, window_preprocessing
from convatlas.data.data_set import DataSet
from convatlas.data.division import Division
from convatlas.data.request import DataRequest
from convatlas.data.sources import load_labelled
from convatlas.data.splits import Split
from convatlas.errors import UsageError
from convatlas.records import NetworkCard, Preprocessing, Task


@dataclass(frozen=True)
class DataTask:
    """How data for networks of one task are read, and what preprocessing suits them."""

    load: Callable[[DataRequest], DataSet]
    preprocess: Callable[[NetworkCard, Split], Preprocessing]


TASKS: dict[Task, DataTask] = {
    "classification": DataTask(load_labelled, defaults.default_preprocessing),
    "segmentation": DataTask(load_masks, window_preprocessing),
    "detection": DataTask(load_boxes, detector_preprocessing),
    "pose": DataTask(load_people, person_preprocessing),
}


def default_preprocessing(card: NetworkCard, split: Split) -> Preprocessing:
    """The size, resizing and normalisation that suit a network and the images, where no recipe says otherwise.

    Raises:
        ConvatlasError: none of the images that were tried can be read.
    """
    return TASKS[card.task].preprocess(card, split)


def load(
    spec: str,
    *,
    root: Path | None = None,
    download: bool = False,
    test: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    division: Division | None = None,
    task: Task = "classification",
    masks: bool = False,
) -> DataSet:
    """A data set by its name or its place.

    Args:
        spec: `digits`, a name of torchvision's (`mnist`, `cifar10`, `svhn`, `imagenet` ...), or
            - a folder with one sub-folder a class, perhaps with `train`, `val` and `test` above or below them,
            - a folder with MNIST's idx files, compressed or not,
            - a .csv, .tsv or .jsonl list of paths and labels,
            - an .npz file, or the prefix of a pair `<prefix>_train.npz` and `_test.npz`,
            - a .parquet file as Hugging Face writes it, or a folder of them,
            - a .tar shard as WebDataset writes it, a folder of them, or a pattern: `/a/x-{000..127}.tar::/b/x-*.tar`.
              Splits are told by the names of files: train, val and test.
        root: where named data sets lie; by default `~/.cache/convatlas`. `<root>/<name>_train.npz` and `_test.npz`
            are taken first.
        download: let torchvision fetch a named data set that isn't there.
        test: another spec, whose test split (or whole, where it has no splits) becomes the test split. The same spec
            stands for data that are to be evaluated: they need not have anything to learn from.
        test_fraction: of each class, where the source has no test part.
        seed: chooses these test images. What was chosen is the result's `division`, to be written down.
        division: chosen before, and used again where the source has no test part.
        task: of the networks that the data are for. Other tasks than classification take a folder: for segmentation
            of images and masks, as `data.segmentation.folders` knows them.
        masks: for detection, each object's mask too; the data have to bring some.

    Raises:
        UsageError: unknown name, no such path, a named data set that isn't there, a fraction outside (0, 1).
        ConvatlasError: what was found can't be used; the message says why.
    """
    if not 0 < test_fraction < 1:
        raise UsageError(f"test_fraction is {test_fraction}; expected a number between 0 and 1")
    if seed < 0:
        raise UsageError(f"seed is {seed}; expected 0 or more")
    if task not in TASKS:
        raise UsageError(f"task is {task!r}; expected one of {', '.join(TASKS)}")
    return TASKS[task].load(DataRequest(spec, root, download, test, test_fraction, seed, division, masks))
