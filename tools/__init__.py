"""Command-line tools on trained models; each is `python -m tools.<name> --help`."""

import sys

from glow_tf.runtime import environment

# The value while `python -m` imports this package, before the tool runs and imports TensorFlow. Other programs that
# import a tool keep their environment.
if sys.argv[0] == "-m":
    environment.prepare()
