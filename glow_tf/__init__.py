"""Normalizing flows for images in TensorFlow: Glow, Flow++, Jet, RealNVP and NICE as TFP distributions."""

import importlib
from typing import TYPE_CHECKING, Any

from glow_tf.version import __version__

if TYPE_CHECKING:
    from glow_tf import analysis, bijectors, data, dequantization, export, layers, networks, partitions, transforms
    from glow_tf.config import ModelConfig
    from glow_tf.models.flow import Flow
    from glow_tf.models.keras_layer import keras_layer
    from glow_tf.models.openai_checkpoint import import_openai_checkpoint
    from glow_tf.models.presets import flow_plus_plus, glow, glow_1d, jet, nice, real_nvp
    from glow_tf.models.storage import load, save
    from glow_tf.runtime import products
    from glow_tf.runtime.runtime import Runtime
    from glow_tf.training.fit import fit

__all__ = [
    "Flow",
    "ModelConfig",
    "Runtime",
    "__version__",
    "analysis",
    "bijectors",
    "data",
    "dequantization",
    "export",
    "fit",
    "flow_plus_plus",
    "glow",
    "glow_1d",
    "import_openai_checkpoint",
    "jet",
    "keras_layer",
    "layers",
    "load",
    "networks",
    "nice",
    "partitions",
    "products",
    "real_nvp",
    "save",
    "transforms",
]

_PACKAGES = {
    "analysis": "glow_tf.analysis",
    "bijectors": "glow_tf.bijectors",
    "data": "glow_tf.data",
    "dequantization": "glow_tf.dequantization",
    "export": "glow_tf.export",
    "layers": "glow_tf.layers",
    "networks": "glow_tf.networks",
    "partitions": "glow_tf.partitions",
    "products": "glow_tf.runtime.products",
    "transforms": "glow_tf.transforms",
}
# TensorFlow takes seconds to import. Names are resolved lazily, so that `--help` and the config do without it, and its
# environment variables can be set first.
_MODULES = {
    "Flow": "glow_tf.models.flow",
    "ModelConfig": "glow_tf.config",
    "Runtime": "glow_tf.runtime.runtime",
    "fit": "glow_tf.training.fit",
    "flow_plus_plus": "glow_tf.models.presets",
    "glow": "glow_tf.models.presets",
    "glow_1d": "glow_tf.models.presets",
    "import_openai_checkpoint": "glow_tf.models.openai_checkpoint",
    "jet": "glow_tf.models.presets",
    "keras_layer": "glow_tf.models.keras_layer",
    "load": "glow_tf.models.storage",
    "nice": "glow_tf.models.presets",
    "real_nvp": "glow_tf.models.presets",
    "save": "glow_tf.models.storage",
}


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(_PACKAGES[name])
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
