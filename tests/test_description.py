"""Descriptions of model parts: their registration, and which values they can store."""

import dataclasses
import importlib
import json
import pathlib
import sys
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import ModelConfig
from glow_tf.layers import Layer, Squeeze, Steps
from glow_tf.networks import Mlp
from glow_tf.transforms import Transform


@pytest.fixture
def holder():
    """A layer with a field of any type."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Holder(Layer):
        value: Any = None

    yield Holder
    Layer.classes.pop("Holder")
    Layer._classes_by_module.pop((__name__, "Holder"))


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Imports modules of the given names, each with a layer `Mine` of its own; forgets them at the end."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def import_them(*modules):
        for name in modules:
            (tmp_path / f"{name}.py").write_text(
                "import dataclasses\nimport glow_tf\n\n"
                "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
                "class Mine(glow_tf.layers.Layer):\n    scale: float = 1.0\n"
            )
            names.append(name)
        importlib.invalidate_caches()
        return [importlib.import_module(name).Mine for name in modules]

    yield import_them
    for name in names:
        sys.modules.pop(name, None)
        Layer._classes_by_module.pop((name, "Mine"), None)
    Layer.classes.pop("Mine", None)


def config_of(*parts):
    return ModelConfig(name="m", image_shape=(2, 2, 1), layers=parts)


def test_classes_of_the_same_name_are_told_apart_by_their_modules(plugins, caplog):
    first, second = plugins("parts_a", "parts_b")
    config = config_of(first(scale=2.0), second(scale=3.0), first())
    again = ModelConfig.from_json(config.to_json())
    assert [type(layer) for layer in again.layers] == [first, second, first]
    assert again == config and not caplog.records


def test_a_class_in_a_renamed_module_is_found_by_its_name_and_told(plugins, caplog):
    (cls,) = plugins("parts_new")
    fields = json.loads(config_of(cls(scale=2.0)).to_json())
    fields["layers"][0]["module"] = "parts_old"
    assert ModelConfig.from_fields(fields).layers == (cls(scale=2.0),)
    (record,) = caplog.records
    assert "layers[0]: Mine was defined in the module parts_old, and that of parts_new is taken" in record.getMessage()


@pytest.mark.parametrize("module", [None, "__main__", "parts", ["parts"]])
def test_a_class_without_the_name_of_another_module(plugins, caplog, module):
    (cls,) = plugins("parts")
    fields = json.loads(config_of(cls()).to_json())
    fields["layers"][0].pop("module")
    if module:
        fields["layers"][0]["module"] = module
    assert ModelConfig.from_fields(fields).layers == (cls(),)
    assert not caplog.records


@pytest.mark.parametrize(
    "value",
    [
        (Squeeze(), Squeeze()),
        [Squeeze()],
        np.zeros(2),
        np.array(["a"]),
        {1.5},
        b"bytes",
        pathlib.Path("here"),
        float("nan"),
        float("inf"),
        np.float32("inf"),
        tf.constant(1.0),
        Squeeze,
    ],
    ids=repr,
)
def test_a_field_that_cannot_be_stored_is_named(holder, value):
    with pytest.raises(ValueError, match=r"^layers\[1\]\.value cannot be stored \(.*\): a field may be ") as error:
        config_of(Squeeze(), holder(value=value))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"^layers\[0\]\.value\.value cannot be stored"):
        config_of(holder(value=holder(value=value)))


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, 0.1, "name", (1, 2.5), ("a", "b"), ((1, 2), (), ("a", (3,))), Squeeze(factor=3)),
        *(np.float32(0.1), np.float64(0.1), np.int64(3), np.bool_(True), np.str_("name"), (np.float32(0.1), 2)),
    ],
    ids=repr,
)
def test_a_field_that_can_be_stored_is_restored(holder, value):
    config = config_of(holder(value=value))
    assert ModelConfig.from_json(config.to_json()) == config


def test_fields_that_the_constructor_does_not_take_are_not_stored():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Derived(Layer):
        side: int
        area: Any = dataclasses.field(init=False)

        def __post_init__(self):
            object.__setattr__(self, "area", np.full(2, self.side**2))

        def __eq__(self, other):
            return self.side == other.side

    try:
        config = config_of(Derived(side=3))
        again = ModelConfig.from_json(config.to_json())
        assert again.layers[0].side == 3 and again.layers[0].area.tolist() == [9, 9]
        assert "area" not in config.to_json()
    finally:
        Layer.classes.pop("Derived")


def test_a_string_in_a_field_with_the_name_of_another_kind():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Named(Transform):
        parameters_per_dim: ClassVar[int] = 1
        network: str = "mlp"
        layer: str = "Squeeze"

    try:
        config = config_of(Squeeze(), Steps(depth=1, network=Mlp(width=2), coupling=Named(network="cnn")))
        assert ModelConfig.from_json(config.to_json()) == config
    finally:
        Transform.classes.pop("Named")
