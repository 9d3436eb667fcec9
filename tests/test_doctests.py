"""The examples in docstrings give the results they state."""

import doctest
import importlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import glow_tf

PACKAGE = pathlib.Path(glow_tf.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name):
    failed, attempted = doctest.testmod(
        importlib.import_module(name), extraglobs={"glow_tf": glow_tf, "np": np, "tf": tf}, report=True
    )
    assert attempted and not failed, f"{failed} of {attempted} examples failed; see what was printed"


def test_central_names_have_examples():
    for thing in (glow_tf.Flow, glow_tf.load, glow_tf.glow, glow_tf.dequantization.Uniform, glow_tf.data.load_source):
        assert ">>> " in thing.__doc__, thing
