"""Runs the `glow` command as `python -m glow_tf`."""

from glow_tf.cli import main

if __name__ == "__main__":
    main()
