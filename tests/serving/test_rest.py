"""Parsing of requests and formatting of replies, without a model."""

import json

import numpy as np
import pytest

from glow_tf.serving import rest
from glow_tf.serving.errors import RequestError
from glow_tf.serving.signature import Signature, Spec

X, Y = Spec("x", "uint8", (None, 2)), Spec("y", "float32", (None,))
NUM, SEED = Spec("num", "int32", ()), Spec("seed", "int32", ())
OUT = {"out": Spec("out", "float32", (None,))}
SIGNATURES = {
    signature.name: signature
    for signature in (
        Signature("serving_default", {"x": X}, OUT, {}),
        Signature("two", {"x": X, "y": Y}, OUT, {}),
        Signature("seeded", {"x": X, "seed": SEED}, OUT, {"seed": np.array(7, np.int32)}),
        Signature("scaled", {"x": X, "y": Y}, OUT, {"y": np.ones(1, np.float32)}),
        Signature("draw", {"num": NUM, "seed": SEED}, OUT, {"seed": np.array(7, np.int32)}),
        Signature(
            "draw_classes",
            {"num": NUM, "labels": Spec("labels", "int32", (None,))},
            OUT,
            {"labels": np.zeros([0], np.int32)},
        ),
        Signature("between", {"x": X, "steps": Spec("steps", "int32", ())}, OUT, {"steps": np.array(8, np.int32)}),
        Signature("nothing", {}, {"out": Spec("out", "float32", (3,))}, {}),
    )
}


def parse(document):
    return rest.parse(document.encode() if isinstance(document, str) else json.dumps(document).encode(), SIGNATURES)


def ask(name, **document):
    return parse({"signature_name": name, **document})


@pytest.mark.parametrize(
    "request_,inputs",
    [
        ({"instances": [[1, 2], [3, 4]]}, {"x": [[1, 2], [3, 4]]}),
        ({"instances": [{"x": [1, 2]}]}, {"x": [[1, 2]]}),
        ({"inputs": [[1, 2]]}, {"x": [[1, 2]]}),
        ({"inputs": {"x": [[1, 2]]}, "signature_name": ""}, {"x": [[1, 2]]}),
        ({"signature_name": "two", "instances": [{"x": [1, 2], "y": 3}]}, {"x": [[1, 2]], "y": [3]}),
        ({"signature_name": "two", "inputs": {"x": [[1, 2]], "y": [3]}}, {"x": [[1, 2]], "y": [3]}),
        ({"signature_name": "seeded", "instances": [[1, 2]]}, {"x": [[1, 2]], "seed": 7}),
        ({"signature_name": "seeded", "instances": [{"x": [1, 2]}]}, {"x": [[1, 2]], "seed": 7}),
        ({"signature_name": "seeded", "inputs": {"x": [[1, 2]], "seed": 1}}, {"x": [[1, 2]], "seed": 1}),
        ({"signature_name": "draw", "inputs": {"num": 2}}, {"num": 2, "seed": 7}),
        ({"signature_name": "draw", "inputs": 2}, {"num": 2, "seed": 7}),
        ({"signature_name": "nothing", "inputs": {}}, {}),
    ],
)
def test_both_formats_name_the_same_inputs(request_, inputs):
    found = parse(request_)
    assert {name: value.tolist() for name, value in found.inputs.items()} == inputs
    assert found.by_rows == ("instances" in request_)


@pytest.mark.parametrize(
    "request_,why",
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ('{"instances": [[1, 2]]} x', "not valid JSON"),
        ('{"instances": [' + "1" * 5000 + "]}", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "must be a JSON object"),
        ("NaN", "must be a JSON object"),
        ({}, "either"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "either"),
        ({"signature_name": 1, "instances": [[1, 2]]}, "must be a string"),
        ({"signature_name": "no", "instances": [[1, 2]]}, "no signature 'no'; there are between, draw, draw_classes"),
        ({"instances": []}, "a list with an entry"),
        ({"instances": 1}, "a list with an entry"),
        ({"instances": [[1, 2], {"x": [1, 2]}]}, "all be objects"),
        ({"instances": [{"x": [1, 2]}, {}]}, "0 and 1 differ in 'x'"),
        ({"instances": [{"z": [1, 2]}]}, "no input 'z'; its inputs are x"),
        ({"inputs": {"x": [[1, 2]], "z": 1}}, "no input 'z'"),
        ({"inputs": {}}, "needs the input x"),
        ({"signature_name": "two", "instances": [[1, 2]]}, "must name the inputs of two"),
        ({"signature_name": "two", "inputs": [[1, 2]]}, "must name the inputs of two"),
        ({"signature_name": "two", "inputs": {"y": [1]}}, "two needs the input x"),
        ({"signature_name": "two", "instances": [{"x": [1, 2]}]}, "two needs the input y"),
        ({"signature_name": "draw", "instances": [1]}, "draw needs the column format"),
        ({"signature_name": "seeded", "instances": [{"x": [1, 2], "seed": 1}]}, "seed is one value for all rows"),
        ({"signature_name": "nothing", "instances": [1]}, "nothing needs the column format"),
        ({"signature_name": "nothing", "inputs": [1]}, "must name the inputs"),
        ({"signature_name": "two", "inputs": {"x": [[1, 2]], "y": []}}, "y is empty"),
        ({"instances": [[1, 2], [1]]}, "x must .* ragged"),
        ({"instances": [[1, 2, 3]]}, r"x must have shape \[B, 2\] and dtype uint8; the shape found is \[1, 3\]"),
    ],
)
def test_what_is_wrong_is_said(request_, why):
    with pytest.raises(RequestError, match=why) as refused:
        parse(request_)
    assert refused.value.status == 400


def test_bytes_that_are_no_text_are_no_json():
    with pytest.raises(RequestError, match="not valid JSON"):
        rest.parse(b'{"instances": ["\xff"]}', SIGNATURES)


def test_only_requests_of_rows_alone_can_be_batched():
    assert ask("serving_default", instances=[[1, 2]]).can_be_batched
    assert ask("two", inputs={"x": [[1, 2]], "y": [3]}).can_be_batched
    assert not ask("two", inputs={"x": [[1, 2], [3, 4]], "y": [3]}).can_be_batched
    assert ask("scaled", instances=[[1, 2]]).can_be_batched
    # There is one default value for two rows.
    assert not ask("scaled", instances=[[1, 2], [3, 4]]).can_be_batched
    for name, inputs in (("seeded", [[1, 2]]), ("draw", 3), ("nothing", {})):
        assert not ask(name, inputs=inputs).can_be_batched


def test_images_are_counted_before_anything_runs():
    assert ask("serving_default", instances=[[1, 2]] * 3).images == 3
    assert ask("draw", inputs={"num": 2_000_000_000}).images == 2_000_000_000
    # Left to the model to refuse.
    assert ask("draw", inputs={"num": -5}).images == 1
    assert ask("draw_classes", inputs={"num": 40}).images == 40
    assert ask("draw_classes", inputs={"num": 40, "labels": [1] * 40}).images == 40
    # The larger counts where they differ, which the model refuses too.
    assert ask("draw_classes", inputs={"num": 5000, "labels": [1]}).images == 5000
    assert ask("draw_classes", inputs={"num": 1, "labels": [1] * 5000}).images == 5000
    # Both ends of an interpolation are in its reply.
    assert ask("between", inputs={"x": [[1, 2]] * 3}).images == 3 * 9
    assert ask("between", inputs={"x": [[1, 2]] * 3, "steps": 10**6}).images == 3 * (10**6 + 1)
    assert ask("between", inputs={"x": [[1, 2]] * 3, "steps": -7}).images == 3


@pytest.mark.parametrize(
    "outputs,rows,columns",
    [
        ({"a": [1, 2]}, {"predictions": [1, 2]}, {"outputs": [1, 2]}),
        (
            {"b": [[1], [2]], "a": [3, 4]},
            {"predictions": [{"a": 3, "b": [1]}, {"a": 4, "b": [2]}]},
            {"outputs": {"a": [3, 4], "b": [[1], [2]]}},
        ),
    ],
)
def test_replies_have_the_format_of_requests(outputs, rows, columns):
    outputs = {name: np.array(value, np.int32) for name, value in outputs.items()}
    assert json.loads(rest.reply(outputs, by_rows=True)) == rows
    assert json.loads(rest.reply(outputs, by_rows=False)) == columns


@pytest.mark.parametrize("shape", [(70_000,), (40_000, 2), (3, 40_000), (1, 2, 70_000), (1, 2, 2, 20_000), (70_000, 0)])
def test_large_replies_are_written_in_parts(shape):
    x = np.arange(np.prod(shape)).reshape(shape) / 8
    y = -np.arange(shape[0])
    rows = [{"x": one, "y": other} for one, other in zip(x.tolist(), y.tolist(), strict=True)]
    for outputs, columns in (({"x": x}, x.tolist()), ({"y": y, "x": x}, {"x": x.tolist(), "y": y.tolist()})):
        assert json.loads(rest.reply(outputs, by_rows=False)) == {"outputs": columns}
        predictions = rows if len(outputs) == 2 else x.tolist()
        assert json.loads(rest.reply(outputs, by_rows=True)) == {"predictions": predictions}


@pytest.mark.parametrize("shapes", [[()], [(), (3,)], [(2,), (3,)]])
def test_outputs_that_are_not_rows_are_not_told_as_rows(shapes):
    outputs = {str(i): np.zeros(shape) for i, shape in enumerate(shapes)}
    with pytest.raises(RequestError, match="column format"):
        rest.reply(outputs, by_rows=True)
    assert "outputs" in json.loads(rest.reply(outputs, by_rows=False))
