"""Coupling networks as pure functions of (tensors, input); see `glow_tf.networks.parameters` for their form."""

from types import ModuleType

from glow_tf.networks import cnn, mlp, resnet


def get(name: str) -> ModuleType:
    """The network called `name`: `cnn`, `resnet` or `mlp`.

    Raises:
      ValueError: if there is none of that name.
    """
    modules = {"cnn": cnn, "mlp": mlp, "resnet": resnet}
    if name not in modules:
        raise ValueError(f"network={name!r} is not one of {', '.join(map(repr, modules))}.")
    return modules[name]


__all__ = ["cnn", "get", "mlp", "resnet"]
