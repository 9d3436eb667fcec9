"""Programs of the checkout, `python -m tools.<name> --help`: benchmarks, and those of `glow`.

`python -m tools.sample` is `glow sample`, for people who have no `glow` on the path.
"""

import pathlib

# Prepares the environment of programs, for those of the checkout too.
from glow_tf import commands

__path__.append(str(pathlib.Path(commands.__file__).parent))
