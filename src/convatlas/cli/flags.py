"""Errors below the command line name arguments; a person who types commands reads the flags in their place."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_FIRST_WORD = re.compile(r"[a-z][a-z_]*(?= )")
_AS_ARGUMENT = re.compile(r"\b(?P<name>[a-z][a-z_]*)=(?P<value>True|None|[A-Z][A-Z_|]*|'[^']*'|\d[\w.,]*)")

_SPELLED_WITH_UNDERSCORE = re.compile(r"(?<![\w./'\"-])[a-z]+(?:_[a-z]+)+(?![\w/'\"=-]|\.\w)")


def name_flags(sentence: str, flags: Mapping[str, str]) -> str:
    """The sentence with the arguments that it names as the flags of a command.

    Three places are read: the first word ("device abacus is not usable"), what is written as in Python ("expected
    weights=FILE", "overwrite=True replaces it"), and words that no sentence has otherwise ("class_weights").

    Args:
        sentence: of an error.
        flags: `flags_of` a command.
    """
    first = _FIRST_WORD.match(sentence)
    if first is not None and first[0] in flags:
        sentence = flags[first[0]] + sentence[first.end() :]
    sentence = _AS_ARGUMENT.sub(lambda match: _as_typed(match, flags), sentence)
    return _SPELLED_WITH_UNDERSCORE.sub(lambda match: flags.get(match[0], match[0]), sentence)


def _as_typed(match: re.Match[str], flags: Mapping[str, str]) -> str:
    flag, value = flags.get(match["name"]), match["value"]
    if flag is None:
        return match[0]
    return flag if value == "True" else f"{flag} {value.strip(chr(39))}"


def flags_of(arguments: Sequence[str]) -> dict[str, str]:
    """The flags of the command that a command line calls, by the name of the argument: {"batch_size": "--batch-size"}.

    Empty where there is no such command.
    """
    from convatlas import cli

    words = [argument for argument in arguments if not argument.startswith("-")]
    if not words or words[0] not in cli.COMMANDS:
        return {}
    command: Any = cli.load(words[0])
    nested: Mapping[str, Any] = getattr(command, "commands", {})
    if len(words) > 1 and words[1] in nested:
        command = nested[words[1]]
    flags: dict[str, str] = {}
    for parameter in command.params:
        long = [option for option in parameter.opts if option.startswith("--")]
        if long:
            names = (parameter.name, long[0].removeprefix("--").replace("-", "_"))
            flags.update(dict.fromkeys(names, long[0]))
    return flags
