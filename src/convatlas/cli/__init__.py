"""The command line: one thin module per command, imported only when its command runs.

`convatlas --help` needs typer and rich, never torch: the group knows its commands from the table below.
"""

import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import convatlas
from convatlas.cli.arguments import HelpfulGroup, prepare
from convatlas.cli.common import warn
from convatlas.cli.flags import flags_of, name_flags
from convatlas.errors import ConvatlasError

# In the order of a first visit: look, prove, train, use. name -> (module, panel, one line)
COMMANDS = {
    "list": ("list_", "Look and prove", "What there is: networks with paper, year, size and task."),
    "show": ("show", "Look and prove", "The layer table of a network: shapes, parameters, multiply-adds."),
    "rf": ("rf", "Look and prove", "What a unit sees of the input: field, exact pixels, and how strongly."),
    "diff": ("diff", "Look and prove", "What differs between two networks, layer by layer and in all."),
    "why": ("why", "Look and prove", "Which published network any model is nearest to, and what differs."),
    "choose": ("choose", "Look and prove", "Which network suits: score, parameters, multiply-adds, time here."),
    "compare": (
        "compare",
        "Look and prove",
        "Networks side by side: accuracy, cost, memory, latency; a page of charts.",
    ),
    "verify": ("verify", "Look and prove", "Recompute every published number and lay it beside the printed one."),
    "recipe": (
        "recipe",
        "Look and prove",
        "What training by a recipe really does: rates, decay, input, initialisation.",
    ),
    "facts": ("facts_", "Look and prove", "What papers state about a network or a topic, and what surveys make of it."),
    "ask": ("ask", "Look and prove", "Questions that students ask, answered, with the commands that show it."),
    "count": ("count", "Look and prove", "Blocks of layers side by side: field, parameters, multiply-adds, memory."),
    "convolve": ("convolve", "Look and prove", "Convolution and correlation by hand, step by step, as matrices."),
    "lineage": ("lineage", "Look and prove", "Who builds on whom, 1958 to 2018, with a sentence for each step."),
    "train": ("train", "Train and use", "Train a network on a folder of images or a known data set."),
    "data": ("data", "Train and use", "Read every image of a data set and name what is wrong with it."),
    "runs": ("runs", "Train and use", "List the runs of a folder and compare them."),
    "eval": ("eval_", "Train and use", "Test error with its 95% interval, loss, and a table of classes."),
    "report": ("report", "Train and use", "Write or rewrite the report of a run, also of one that was stopped."),
    "predict": ("predict", "Train and use", "The most probable classes of images."),
    "features": ("features", "Train and use", "What layers give for images: a file, a linear probe, the nearest."),
    "export": (
        "export",
        "Train and use",
        "A trained network as ONNX, torch.export or TorchScript, also in int8.",
    ),
    "weights": ("weights", "Train and use", "Published weights: list them, import their files, look inside."),
    "cite": ("cite", "Look and prove", "BibTeX of a network's paper; of a run, its methods with every departure."),
    "explain": ("explain_", "See inside", "What a network looks at: deconvnet, saliency, Grad-CAM and more."),
    "new-network": ("new_network", "Add to it", "Write the files of a new network: code, ledger, recipe, test."),
    "doctor": ("doctor", "This machine", "What this machine can do, what is missing, and how to get it."),
}

INTERRUPTED = 130  # by Ctrl-C, as shells count
EXPECTED_OS_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "expected a file, found a folder",
    errno.ENOTDIR: "expected a folder, found a file",
    errno.EEXIST: "it exists already",
}


class LazyGroup(HelpfulGroup):
    """A group that lists its commands from `COMMANDS` and imports a command's module only to run it."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        _, panel, line = COMMANDS[cmd_name]
        return TyperCommand(cmd_name, help=line, short_help=line, rich_help_panel=panel, rich_markup_mode="rich")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self.commands = {name: self.get_command(ctx, name) for name in COMMANDS}  # what a typing error is compared with
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else command, rest


def load(name: str) -> Any:
    """Imports the module of a command and builds the command from its function `command`, or its group `app`."""
    module = importlib.import_module(f"convatlas.cli.{COMMANDS[name][0]}")
    group = module.app if hasattr(module, "app") else typer.Typer(add_completion=False, rich_markup_mode="rich")
    if not hasattr(module, "app"):
        group.command(name, help=module.command.__doc__ or COMMANDS[name][2])(module.command)
    prepare(group)
    return typer.main.get_command(group)


app = typer.Typer(
    name="convatlas",
    cls=LazyGroup,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=True,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First steps: [bold]convatlas show lenet5[/], then [bold]convatlas train lenet5 --data digits[/]",
)


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works after a command too.")
    ] = False,
) -> None:
    """[bold]convatlas[/]: the classic convolutional networks, as published, proved, trained and opened up."""
    if version:
        typer.echo(f"convatlas {convatlas.__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), nl=False)
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 or 143 interrupted."""
    for stream in (sys.stdout, sys.stderr):  # names of files need not be text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments, debug = split_debug(list(sys.argv[1:] if argv is None else argv))
    try:
        result = typer.main.get_command(app).main(arguments, prog_name="convatlas", standalone_mode=False)
        if result == INTERRUPTED:
            warn("interrupted")
        return result if isinstance(result, int) else 0
    except BaseException as error:
        if isinstance(error, SystemExit):
            return error.code if isinstance(error.code, int) else 1
        sentence, code = explain(error)
        if isinstance(error, ConvatlasError):
            sentence = name_flags(sentence, flags_of(arguments))
        if debug:
            traceback.print_exception(error)
        warn(f"{'error: ' if code < 128 else ''}{sentence}")
        return code


def split_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Takes `--debug` out, wherever it stands before a `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    environment = os.environ.get("CONVATLAS_DEBUG", "") not in ("", "0")
    return kept + arguments[end:], environment or len(kept) < end


def explain(error: BaseException) -> tuple[str, int]:
    """(one sentence, exit code) for anything that ended a command."""
    if isinstance(error, ConvatlasError):
        return str(error), error.exit_code
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return "interrupted", INTERRUPTED
    if callable(format_message := getattr(error, "format_message", None)):  # typer's own usage errors
        return usage_sentence(error, str(format_message())), getattr(error, "exit_code", 2)
    if isinstance(error, OSError) and error.errno is not None:
        reason = EXPECTED_OS_ERRORS.get(error.errno) or os.strerror(error.errno)
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
        return f"{where}{reason}", 1
    out_of_memory = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)  # torch's two
    if isinstance(error, MemoryError) or out_of_memory:
        return "out of memory; a smaller --batch-size or a smaller network would need less", 1
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"unexpected {type(error).__name__}: {first_line} (--debug shows where)", 1


OPTION_HINTS = {
    "--dims": "data are images here; for series and volumes convatlas.create(name, dims=1) or dims=3 builds the network"
    " in Python, and training it is a loop of your own",
}


def usage_sentence(error: BaseException, message: str) -> str:
    """typer's message, and where to read on."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "convatlas"
    for theirs, ours in (("Got unexpected extra argument", "too many: argument"), ("Value error, ", "")):
        message = message.replace(theirs, ours)
    message = message.strip().rstrip(".").replace(chr(10), " ")
    for option, hint in OPTION_HINTS.items():
        if message.startswith(f"No such option: {option}"):
            return f"No such option: {option}; {hint}"
    return f"{message}{' ' if message.endswith('?') else '; '}`{command} --help` tells what is expected"
