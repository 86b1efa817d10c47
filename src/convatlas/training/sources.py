"""The data set of a recipe, split as the recipe says."""

from pathlib import Path

from convatlas import data, registry
from convatlas.data import DataSet, Division
from convatlas.data.validation import fold, hold_out, reduce
from convatlas.errors import UsageError
from convatlas.training.recipe import DataSource


def load_data(
    source: DataSource,
    network: str,
    *,
    seed: int = 0,
    root: Path | None = None,
    download: bool = False,
    division: Division | None = None,
) -> DataSet:
    """Loads the data of a recipe, and makes of the training split what the recipe says.

    Args:
        source: the recipe's `data`.
        network: whose task the data are read for.
        seed: of the recipe; it chooses what is held out.
        root: where known data sets lie, instead of the recipe's.
        download: fetch a known data set that is absent.
        division: which images a run held out for testing, where the data bring no test split.

    Raises:
        UsageError, ConvatlasError: as `data.load`, `hold_out`, `fold` and `reduce`.

    Example:
        >>> loaded = load_data(DataSource("digits", val_fraction=0.1), "lenet5")
        >>> len(loaded.train), len(loaded.val), len(loaded.test)
        (1294, 144, 359)
    """
    card = registry.card(network)
    where = root or (Path(source.root) if source.root else None)
    loaded = data.load(
        source.spec,
        root=where,
        download=download,
        test=source.test,
        test_fraction=source.test_fraction,
        seed=seed,
        division=division,
        task=card.task,
        masks=card.traits.wants_masks,
    )
    if source.folds is not None and source.val_fraction:
        raise UsageError("val_fraction and folds both make a validation split; expected one of them")
    if source.folds is not None:
        loaded = fold(loaded, source.fold or 1, source.folds, seed=seed)
    elif source.val_fraction:
        loaded = hold_out(loaded, source.val_fraction, seed=seed)
    return reduce(loaded, source.fraction, seed=seed)
