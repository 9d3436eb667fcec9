"""Inputs for the signatures of the small models, as arrays and as JSON, and a stand-in for a slow model."""

import base64
import io
import threading

import numpy as np
import tensorflow as tf
from PIL import Image

from glow_tf.serving.batching import Runner

IMAGES = np.random.default_rng(0).integers(0, 256, [4, 8, 8, 3]).astype(np.uint8)
LATENTS = np.random.default_rng(1).normal(size=[4, 192]).astype(np.float32)
FILES = np.array([tf.io.encode_png(image).numpy() for image in IMAGES], object)

# The last digits of floats depend on the rest of the batch; images do not.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def photograph(height, width, kind="JPEG"):
    """An image file that shows waves, as bytes."""
    waves = np.sin(np.arange(height * width * 3) / 97).reshape([height, width, 3])
    file = io.BytesIO()
    Image.fromarray((128 + 100 * waves).astype(np.uint8)).save(file, kind)
    return file.getvalue()


def some_signatures(model):
    """Signatures to test: all, or for a conditional model those without files, as the others would add nothing new."""
    conditional = "labels" in model.signatures["encode"].inputs
    return [name for name in model.signatures if not (conditional and "_bytes" in name)]


def inputs_of(model, name):
    """Arrays for every input of a signature, [2, ...] for those that have rows."""
    values = {
        **{key: IMAGES[:2] for key in ("images", "start")},
        **{key: FILES[:2] for key in ("image_bytes", "start_bytes")},
        **{"end": IMAGES[2:], "end_bytes": FILES[2:], "latents": LATENTS[:2], "direction": LATENTS[2:]},
        **{"labels": np.array([0, 2], np.int32), "end_labels": np.array([1, 1], np.int32)},
        **{"num": np.array(2, np.int32), "steps": np.array(3, np.int32), "seed": np.array(5, np.int32)},
        **{"temperature": np.array(0.5, np.float32), "scale": np.array([0.5, -1], np.float32)},
    }
    return {key: values[key] for key in model.signatures[name].inputs}


def as_json(value):
    """Converts an array or bytes to the JSON value that a client would send."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [as_json(entry) for entry in value]
    return value.tolist()


def direct(model, name, inputs):
    """Runs a signature in TensorFlow itself, and returns its outputs as arrays keyed by name."""
    found = model.functions[name](**{key: tf.constant(value, value_dtype(value)) for key, value in inputs.items()})
    return {key: value.numpy() for key, value in found.items()}


def value_dtype(value):
    return tf.string if value.dtype == object else tf.as_dtype(value.dtype)


def by_rows(outputs):
    """Arranges outputs as in a reply in the row format."""
    rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    return rows if len(outputs) > 1 else [value for row in rows for value in row.values()]


def assert_same(found, expected):
    """Compares a part of a parsed reply with arrays or bytes, or with lists and dictionaries of them."""
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list) or isinstance(expected, np.ndarray) and expected.dtype == object:
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, bytes):
        assert (base64.b64decode(found["b64"]) if isinstance(found, dict) else found.encode()) == expected
    elif np.asarray(expected).dtype.kind == "f":
        np.testing.assert_allclose(found, expected, **TOLERANCE)
    else:
        np.testing.assert_array_equal(found, expected)


class Held:
    """A runner that waits for `go` before each run, as a stand-in for a slow model."""

    def __init__(self, model):
        self.runner = Runner(model, max_batch_size=1)
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)

    def run(self, request, deadline):
        self.entered.release()
        self.go.wait(30)
        return self.runner.run(request, deadline + 100)
