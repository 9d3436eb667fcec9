"""The `glow` command, which runs one of the package's programs, such as `glow train` or `glow sample`."""

import ast
import difflib
import importlib.util
import os
import pathlib
import runpy
import sys

from glow_tf.runtime import ending, environment, text
from glow_tf.version import __version__

# Commands by group, in the order of `glow --help`.
GROUPS: dict[str, tuple[str, ...]] = {
    "Train": ("train", "plot", "flags", "import_openai"),
    "Look": ("demo", "sample", "temperature", "interpolate", "reconstruct", "attributes", "manipulate", "nearest"),
    "Measure": ("evaluate", "fid", "outliers", "probe", "attribute_check", "memory"),
    "Serve": ("export", "serve"),
    "Compare models": ("ablation", "compare", "density", "semi_supervised", "audio"),
}
# The module of each command.
COMMANDS = {name: f"glow_tf.commands.{name}" for names in GROUPS.values() for name in names}
COMMANDS["train"] = "glow_tf.main"


def main() -> None:
    """Runs the command named by the first argument, with the remaining arguments."""
    text.print_everything()
    with ending.without_traceback():
        _run()


def _run() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    arguments = sys.argv[2:]
    if name in ("-h", "-help", "--help", "help"):
        print(usage())
    elif name in ("-version", "--version"):
        print(f"glow_tf {__version__}")
    else:
        module = COMMANDS.get(name.replace("-", "_"))
        if module is None:
            print(f"error: {_unknown(name)}", file=sys.stderr)
            raise SystemExit(2)
        # As with `python -m`. absl looks up a program's flags by sys.argv[0], and its help in `__main__`.
        sys.path.insert(0, os.getcwd())
        sys.argv = [f"glow {name}", *arguments]
        environment.prepare()
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def usage() -> str:
    """Returns the text of `glow --help`."""
    width = max(map(len, COMMANDS))
    lines = ["Normalizing flows for images: train them, look at them, measure them, serve them.", ""]
    lines.append("  glow COMMAND --flag=value ...    glow COMMAND --help    glow --version")
    for group, names in GROUPS.items():
        lines += ["", group, *(f"  {name:{width}}  {summary(COMMANDS[name])}" for name in names)]
    return "\n".join(lines)


def summary(module: str) -> str:
    """Returns the first line of a module's docstring, without importing it, as that would import TensorFlow."""
    source = pathlib.Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)).splitlines()[0].removesuffix(".")


def _unknown(name: str) -> str:
    if name.startswith("-"):
        return f"{name} comes before the command; glow --help lists the commands, whose flags follow their name."
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"glow has no command {name!r}.{hint} glow --help lists them."
