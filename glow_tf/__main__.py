"""`python -m glow_tf` is `glow`."""

from glow_tf.cli import main

if __name__ == "__main__":
    main()
