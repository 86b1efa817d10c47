"""The program that lies beside an exported ONNX file: it needs onnxruntime, numpy and Pillow, and nothing of ours."""

from importlib import resources

from convatlas.records import Task

START, END = "# --- begin ---\n", "# --- end ---\n"


def program_of(task: Task) -> str:
    """The text of the program for a task: what all share, and what the task makes of the outputs."""
    folder = resources.files("convatlas.inference.programs")
    shared = (folder / "shared.py").read_text(encoding="utf-8")
    own = (folder / f"{task}.py").read_text(encoding="utf-8")
    docstring = own.partition("\n")[0]
    imports = shared.partition(START)[0].partition('"""\n')[2].strip()
    functions, body = (text.partition(START)[2].partition(END)[0].strip() for text in (shared, own))
    return f"{docstring}\n\n{imports}\n\n\n{functions}\n\n\n{body}\n"
