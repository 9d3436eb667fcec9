"""The package's commands, one per module: `glow sample` runs `sample.py`. `glow_tf.cli` lists them."""

import sys

from glow_tf.runtime import environment

# `python -m` sets this value while it imports this package, before the command runs and imports TensorFlow. Other
# programs that import a command keep their environment.
if sys.argv[0] == "-m":
    environment.prepare()
