"""How a run goes on: from its newest whole checkpoint, on the data that it began with, or not at all."""

from collections.abc import Callable
from typing import Any

from convatlas.errors import ConvatlasError, UsageError
from convatlas.training import checkpoint, inventory
from convatlas.training.inventory import Inventory
from convatlas.training.position import Position
from convatlas.training.run import RunFolder
from convatlas.training.setup import Setup


def go_on(run: RunFolder, setup: Setup, samples: Inventory | None, note: Callable[[str], None]) -> Position:
    """Restores the newest whole checkpoint, and brings what the folder tells of the run back to it.

    Args:
        run: whose lock is held.
        setup: whose learner gets the state.
        samples: of the data as they are now; None on all processes but the first.
        note: told of what happens.

    Raises:
        UsageError: the data are not those that the run began with.
        ConvatlasError: there were checkpoints, and none can be used; nothing of the run is changed.
    """
    processes, position = setup.processes, Position()
    changed = processes.from_first(lambda: describe_changes(run, samples))
    state, problems = processes.from_first(lambda: checkpoint.load_newest(run.states))
    if state is not None:
        position = _restore(run, setup, state, changed)
        for problem in problems:
            note(f"the checkpoint {problem.path} can't be used: {problem.reason}; the one before it is")
        if position.epoch < setup.recipe.epochs:
            note(f"going on in epoch {position.epoch + 1} after step {position.index} of {setup.steps}")
        else:
            note("all epochs are done; only the test and the report are made again")
    elif problems or (run.metrics.exists() and run.rows()):
        named = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems)
        raise ConvatlasError(
            f"{run.path} has no checkpoint that it could go on from{': ' * bool(named)}{named}; "
            "overwrite=True begins it anew"
        )
    elif changed:
        raise _other_data(run, changed)
    if processes.first:
        run.rewrite(position.rows)
        for old in run.states.glob("*.tmp"):  # left by a death while it was written
            old.unlink(missing_ok=True)
    return position


def describe_changes(run: RunFolder, samples: Inventory | None) -> str | None:
    """How the data differ from those that the run began with, as far as that was written down."""
    if samples is None or not run.samples.exists():  # a run of an older version
        return None
    return inventory.compare(inventory.read(run.samples), samples)


def _other_data(run: RunFolder, changed: str) -> UsageError:
    return UsageError(
        f"resume {run.path}: {changed}; it can only go on with the data that it began with, "
        "overwrite=True begins it anew"
    )


def _restore(run: RunFolder, setup: Setup, state: dict[str, Any], changed: str | None) -> Position:
    try:
        found = (state["steps"], state["samples"])
        position = Position(**state["position"])
    except (KeyError, TypeError) as error:
        raise ConvatlasError(f"the checkpoint is of another version of convatlas ({error})") from error
    if found != (now := (setup.steps, len(setup.train.split))):
        counts = f"the run had {found[1]} samples in {found[0]} steps an epoch, the data now have {now[1]} in {now[0]}"
        raise _other_data(run, f"{counts}: {changed}" if changed else counts)
    if changed:
        raise _other_data(run, f"the data have changed: {changed}")
    if position.epoch and not position.best_epoch:  # a run of an older version
        best_first = sorted(range(position.epoch), key=lambda epoch: position.errors[epoch])
        position.best_epoch = 1 + best_first[0] if setup.recipe.keep == "best" else position.epoch
    setup.learner.restore(state["learner"])
    return position
