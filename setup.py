"""States which versions of Python will do before anything is downloaded; pyproject.toml says all else."""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    # An older pip would first download TensorFlow, and then read `requires-python`.
    raise SystemExit(f"glow_tf needs Python 3.10, 3.11, 3.12 or 3.13; this is {sys.version.split()[0]}.")

import setuptools

setuptools.setup()
