"""Command-line tools on trained models; each is `python -m tools.<name> --help`."""

import sys

from glow_tf.runtime import environment

# So Python calls the program while it looks for it in this package: before the tool is run, which imports TensorFlow.
# Those who import a tool for something else keep their environment.
if sys.argv[0] == "-m":
    environment.prepare()
