"""SavedModels on disk: versions, signatures, and their form in TensorFlow Serving's messages."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from glow_tf.serving.model import Model, find
from glow_tf.serving.signature import Spec
from tests.saved_models import saved
from tests.serving.examples import direct, inputs_of, some_signatures, value_dtype


def test_signatures_are_those_of_the_file(model):
    assert {"serving_default", "sample_bytes", "attributes"} < set(model.signatures)
    assert not [name for name in model.signatures if name.startswith("__")]
    log_prob = model.signatures["log_prob"]
    assert log_prob.inputs == {"images": Spec("images", "uint8", (None, 8, 8, 3)), "seed": Spec("seed", "int32", ())}
    assert set(log_prob.outputs) == {"log_prob", "bits_per_dim"}
    assert log_prob.required == ["images"] and log_prob.defaults["seed"] == 0
    assert model.signatures["sample"].required == ["num"]
    assert model.signatures["manipulate"].defaults["scale"].tolist() == [1]


def test_the_largest_tensor_is_that_of_hidden_channels(tmp_path):
    class Wide(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.float32, "x")])
        def hidden(self, x):
            return {"y": tf.nn.relu(x @ tf.ones([5, 1000])) @ tf.ones([1000, 2])}

    wide = Wide()
    tf.saved_model.save(wide, str(tmp_path), signatures={"hidden": wide.hidden})
    assert Model(tmp_path).largest_tensor == 1000


def test_the_largest_tensor_of_an_exported_model_is_that_of_a_picture_at_least(model):
    assert model.largest_tensor >= 8 * 8 * 3


def test_what_has_rows_alone_can_be_batched(model, conditional):
    alone = {"sample", "log_prob", "interpolate"}
    for served in (model, conditional):
        for name, signature in served.signatures.items():
            assert signature.has_rows == (
                name.removesuffix("_exact").removesuffix("_bytes") not in alone | {"attributes"}
            ), name


def test_the_newest_version_is_served(tmp_path):
    for name in ("2", "10", "9", "x", "11"):
        (tmp_path / name).mkdir()
        # Version 11 is still being written.
        if name != "11":
            (tmp_path / name / "saved_model.pb").touch()
    assert find(tmp_path) == (tmp_path / "10", 10)
    assert find(tmp_path / "2") == (tmp_path / "2", 2)
    assert find(tmp_path / "x") == (tmp_path / "x", 1)


def test_what_is_no_saved_model_is_said(tmp_path, saved_models):
    with pytest.raises(FileNotFoundError, match="is not there"):
        Model(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="neither a SavedModel nor a folder"):
        Model(tmp_path)
    with pytest.raises(ValueError, match="stands in URLs"):
        Model(saved_models["glow"], "a/b")
    (tmp_path / "saved_model.pb").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="cannot be loaded as a SavedModel"):
        Model(tmp_path)
    shutil.copytree(saved("flat"), tmp_path / "broken")
    next((tmp_path / "broken" / "variables").glob("*.index")).unlink()
    with pytest.raises(ValueError, match="cannot be loaded as a SavedModel"):
        Model(tmp_path / "broken")


def test_documents_parse_as_the_messages_of_tensorflow_serving(model):
    status = json_format.Parse(json.dumps(model.status()), get_model_status_pb2.GetModelStatusResponse())
    (version,) = status.model_version_status
    assert version.version == 1 and version.state == version.AVAILABLE and version.status.error_code == 0
    document = model.metadata()
    assert document["model_spec"] == {"name": "glow", "signature_name": "", "version": "1"}
    definitions = json_format.Parse(
        json.dumps(document["metadata"]["signature_def"]), get_model_metadata_pb2.SignatureDefMap()
    )
    message = get_model_metadata_pb2.GetModelMetadataResponse()
    message.metadata["signature_def"].Pack(definitions)
    assert definitions.signature_def["sample"].defaults["temperature"].float_val == [1]
    for name, signature in model.signatures.items():
        definition = definitions.signature_def[name]
        assert set(definition.inputs) == set(signature.inputs)
        assert {key: tf.as_dtype(info.dtype).name for key, info in definition.outputs.items()} == {
            key: spec.dtype for key, spec in signature.outputs.items()
        }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model", "conditional"])
def test_predict_requests_of_tensorflow_serving_run(name, request):
    model = request.getfixturevalue(name)
    expected = {name: direct(model, name, inputs_of(model, name)) for name in some_signatures(model)}
    # Each signature runs once: optimising its graph would take longer.
    options = tf.compat.v1.ConfigProto()
    options.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Graph().as_default(), tf.compat.v1.Session(config=options) as session:
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(model.path))
        for name in expected:
            inputs = inputs_of(model, name)
            message = predict_pb2.PredictRequest()
            message.model_spec.signature_name = name
            for key, value in inputs.items():
                message.inputs[key].CopyFrom(tf.make_tensor_proto(value, value_dtype(value)))
            message = predict_pb2.PredictRequest.FromString(message.SerializeToString())
            definition = graph.signature_def[message.model_spec.signature_name]
            found = session.run(
                {key: info.name for key, info in definition.outputs.items()},
                {definition.inputs[key].name: tf.make_ndarray(value) for key, value in message.inputs.items()},
            )
            assert set(found) == set(expected[name])
            for key, value in found.items():
                if value.dtype.kind == "f":
                    np.testing.assert_allclose(value, expected[name][key], rtol=1e-4, atol=1e-4)
                else:
                    np.testing.assert_array_equal(value, expected[name][key])
