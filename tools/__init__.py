"""Programs of the checkout, `python -m tools.<name> --help`: benchmarks, and those of `glow`.

`python -m tools.sample` is `glow sample`, for people who have no `glow` on the path.
"""

import pathlib
import sys

from glow_tf import commands
from glow_tf.runtime import environment

__path__.append(str(pathlib.Path(commands.__file__).parent))

# The value while `python -m` imports this package, before the program runs and imports TensorFlow. Other programs that
# import a tool keep their environment.
if sys.argv[0] == "-m":
    environment.prepare()
