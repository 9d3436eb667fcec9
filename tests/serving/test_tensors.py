"""JSON values as tensors: accepts what TensorFlow Serving accepts, and refuses what it refuses."""

import json

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.serving.errors import RequestError
from glow_tf.serving.signature import Spec
from glow_tf.serving.tensors import CONSTANTS, to_array, to_json

ANY = {dtype: Spec("x", dtype, None) for dtype in ("uint8", "int32", "int64", "float32", "float64", "bool", "string")}


def parsed(text):
    return json.loads(text, parse_constant=CONSTANTS.__getitem__)


@pytest.mark.parametrize(
    "text,dtype,expected",
    [
        ("3", "int32", np.array(3, np.int32)),
        ("[[0, 255], [1, 2]]", "uint8", np.array([[0, 255], [1, 2]], np.uint8)),
        ("[-9223372036854775808]", "int64", np.array([-(2**63)], np.int64)),
        ("[1, 0.1, -2.5e-3]", "float32", np.array([1, 0.1, -2.5e-3], np.float32)),
        ("[16777215]", "float32", np.array([16777215], np.float32)),
        ("[NaN, Infinity, -Infinity]", "float32", np.array([np.nan, np.inf, -np.inf], np.float32)),
        ("[true, false]", "bool", np.array([True, False])),
        ('["text", {"b64": "AP8="}, {"b64": "AP8"}]', "string", np.array([b"text", b"\0\xff", b"\0\xff"], object)),
        ("[[], []]", "int32", np.zeros([2, 0], np.int32)),
    ],
)
def test_values_become_arrays(text, dtype, expected):
    found = to_array(parsed(text), ANY[dtype])
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "text,dtype,why",
    [
        ("[1, 300]", "uint8", "300 is not between 0 and 255"),
        ("[-1]", "uint8", "-1 is not between"),
        ("[1.5]", "uint8", "1.5 is a number"),
        ("[1.0]", "int32", "1.0 is a number"),
        ("[true]", "int32", "True is a boolean"),
        ("[2147483648]", "int32", "is not between"),
        (f"[{10**200}]", "int32", "more than 128 bits"),
        ("[1]", "bool", "1 is a whole number"),
        ("[true]", "float32", "True is a boolean"),
        ('["1"]', "float32", "is a string"),
        ("[null]", "float32", "None is no value"),
        ("[1e39]", "float32", "too large"),
        ("[Infinity, 1e400]", "float64", "too large"),
        ("[16777216]", "float32", "without loss"),
        (f"[{10**400}]", "float64", "without loss"),
        ("[1]", "string", "1 is a whole number"),
        ('[{"b64": "A-AA"}]', "string", "bad base64"),
        ('[{"b64": "AAAAA"}]', "string", "bad base64"),
        ('[{"b64": 1}]', "string", "an object must be"),
        ('[{"b64": "AAAA", "x": 1}]', "string", "an object must be"),
        ('["\\ud800"]', "string", "not valid Unicode"),
        ('[{"b64": "AAAA"}]', "uint8", "is an object"),
        ("[[1, 2], [3]]", "uint8", "ragged in dimension 1"),
        ("[[1], 2]", "uint8", "ragged in dimension 1"),
        ("[1, [2]]", "uint8", "ragged in dimension 1"),
        ("[[[1]], [2]]", "uint8", "ragged in dimension 2"),
    ],
)
def test_nothing_is_converted_silently(text, dtype, why):
    with pytest.raises(RequestError, match=why) as refused:
        to_array(parsed(text), ANY[dtype])
    assert refused.value.status == 400 and str(refused.value).startswith("x ")


def test_other_shapes_are_refused_by_name():
    spec = Spec("images", "uint8", (None, 2, 1))
    assert to_array([[[1], [2]]], spec).shape == (1, 2, 1)
    for value in (1, [1], [[1, 2]], [[[1], [2], [3]]], [[[[1]], [[2]]]], []):
        with pytest.raises(RequestError, match=r"images must have shape \[B, 2, 1\] and dtype uint8; the shape found"):
            to_array(value, spec)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_floats_come_back_to_the_bit(dtype):
    dtype = tf.as_dtype(dtype).as_numpy_dtype
    values = np.concatenate([np.random.default_rng(0).normal(size=200), [0.1, -0.0, 1e-7, 1, np.nan, np.inf, -np.inf]])
    values = values.astype(dtype)
    text = json.dumps(to_json(values, "x"))
    found = np.array(json.loads(text)).astype(dtype)
    np.testing.assert_array_equal(found.astype(np.float64), values.astype(np.float64))
    assert text.endswith("1.0, NaN, Infinity, -Infinity]")


def test_floats_have_no_more_digits_than_they_need():
    assert json.dumps(to_json(np.array([0.1, 1e-5, 9e6], np.float32), "x")) == "[0.1, 1e-05, 9000000.0]"


def test_strings_are_text_and_bytes_are_base64():
    strings = np.array([["a", "ü"]], object)
    strings[:] = [[value.encode() for value in row] for row in strings]
    assert to_json(strings, "names") == [["a", "ü"]]
    assert to_json(strings, "names_bytes") == [[{"b64": "YQ=="}, {"b64": "w7w="}]]
    assert to_json(np.array(b"a", object), "names") == "a"
    assert to_json(np.array(b"a", object), "names_bytes") == {"b64": "YQ=="}
    assert to_json(np.zeros([2, 0], object), "names") == [[], []]
    # Bytes that are not text can only be written as base64.
    assert to_json(np.array([b"\xff"], object), "names") == [{"b64": "/w=="}]


def test_dtypes_without_a_form_in_json_are_refused():
    with pytest.raises(RequestError, match="complex64"):
        to_json(np.zeros(1, np.complex64), "x")
    with pytest.raises(RequestError, match="no form in JSON"):
        to_array([1], Spec("x", "complex64", None))
