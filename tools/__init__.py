"""Command-line tools of the checkout, `python -m tools.<name> --help`: benchmarks, and the commands of `glow`.

`python -m tools.sample` is `glow sample`, for users without `glow` on the path.
"""

import pathlib

# The import prepares the environment of commands, for the tools of the checkout too.
from glow_tf import commands

__path__.append(str(pathlib.Path(commands.__file__).parent))
