"""The errors that people can put right: one sentence with the argument, the value and what was expected."""


class ConvatlasError(Exception):
    """Something the user can put right: one sentence that names the argument, the value and what was expected."""

    exit_code = 1


class UsageError(ConvatlasError):
    """The command or the call was wrong (exit code 2), not the machine or the data (exit code 1)."""

    exit_code = 2
