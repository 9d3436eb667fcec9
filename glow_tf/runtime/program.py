"""The name of the `glow` command, as it is typed in this environment."""

import os
import pathlib
import shutil
import sys


def name() -> str:
    """Returns "glow" if that is on the path, else its path, such as ".venv/bin/glow", else "python -m glow_tf"."""
    beside = shutil.which("glow", path=os.path.dirname(sys.executable))
    if beside is None:
        return "python -m glow_tf"
    if shutil.which("glow") == beside:
        return "glow"
    path, here = pathlib.Path(beside), pathlib.Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else beside
