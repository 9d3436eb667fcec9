"""Functions of a SavedModel, with declared inputs, defaults and helpful errors."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf

Tensors = dict[str, tf.Tensor]


# Dtypes in which callers may pass data; an unexpected one is an error, unless it is a float in place of a float.
_FLOATS = (tf.float16, tf.bfloat16, tf.float32, tf.float64)
_DTYPES = (tf.uint8, tf.bool, tf.int16, tf.int32, tf.int64, *_FLOATS, tf.string)


def endpoint(
    body: Callable[..., Tensors],
    inputs: Sequence[tf.TensorSpec],
    defaults: Mapping[str, tf.Tensor] | None = None,
    *,
    data: Collection[str] = (),
) -> tuple[tf.types.experimental.PolymorphicFunction, tf.types.experimental.PolymorphicFunction]:
    """Returns a function of a SavedModel, and its signature.

    The signature states the shapes of `inputs`, for people and tools. The function takes any shape, and any dtype for
    data: the graph itself checks its inputs, with errors that state what is expected. TensorFlow would silently cast
    float arrays to uint8, and 16-bit audio to floats. Floats are cast to the expected float dtype.

    Args:
      body: takes the checked tensors as keyword arguments, named as in `inputs`.
      inputs: names, dtypes and shapes: any number of leading dimensions of size None, followed by known ones.
      defaults: values of optional inputs, which come last.
      data: names of the inputs that are examples of the modelled data, such as images.

    Returns:
      The function to set as an attribute of the SavedModel's object, and the function to pass to `tf.saved_model.save`
      as a signature.
    """

    def checked(**values):
        for spec in inputs:
            value = values[spec.name]
            if value.dtype.is_floating and spec.dtype.is_floating:
                values[spec.name] = tf.cast(value, spec.dtype)
            elif value.dtype != spec.dtype:
                return _refused(value, spec)
        return body(**{spec.name: _checked(values[spec.name], spec) for spec in inputs})

    function = trace_for_any_shape(_declared(checked, inputs, defaults), inputs, data)
    signature = _declared(lambda **values: function(**values), inputs, defaults)
    return function, tf.function(signature, input_signature=list(inputs), autograph=False)


def trace_for_any_shape(
    function: Callable, inputs: Sequence[Any], data: Collection[str]
) -> tf.types.experimental.PolymorphicFunction:
    """Traces `function` for `inputs` of any shape, and of any dtype if they are data.

    Args:
      function: takes one argument for each of `inputs`, and may have defaults for the last of them.
      inputs: `tf.TensorSpec`s, or nests of them.
      data: names of the inputs that are data.
    """

    def relaxed(dtype=None):
        return tf.nest.map_structure(
            lambda spec: tf.TensorSpec(None, dtype if dtype and spec.name in data else spec.dtype, spec.name),
            list(inputs),
        )

    if not any(spec.name in data for spec in tf.nest.flatten(inputs)):
        return tf.function(function, input_signature=relaxed(), autograph=False)
    traced = tf.function(function, autograph=False)
    for dtype in _DTYPES:
        traced.get_concrete_function(*relaxed(dtype))
    return traced


def require(condition: tf.Tensor, message: str, *values: tf.Tensor) -> tf.Operation:
    """Returns a control dependency that fails with `message` and `values` at run time unless `condition` holds."""
    return tf.debugging.Assert(condition, [message, *values], summarize=8)


def _declared(function: Callable[..., Tensors], inputs, defaults) -> Callable[..., Tensors]:
    """Gives `function`, which takes keywords, a parameter for each input, with its name and default for TensorFlow."""
    parameters = [
        inspect.Parameter(
            spec.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=(defaults or {}).get(spec.name, inspect.Parameter.empty),
        )
        for spec in inputs
    ]
    signature = inspect.Signature(parameters)

    def declared(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return function(**bound.arguments)

    declared.__signature__ = signature
    return declared


def _expected(spec: tf.TensorSpec) -> str:
    shape = ", ".join("B" if size is None else str(size) for size in spec.shape)
    return f"{spec.name} must have shape [{shape}] and dtype {spec.dtype.name}"


def _refused(value: tf.Tensor, spec: tf.TensorSpec) -> Tensors:
    """Returns an output that fails at run time, as `value` has a wrong dtype."""
    message = f"{_expected(spec)}; the dtype found is {value.dtype.name}, the shape"
    with tf.control_dependencies([require(tf.constant(False), message, tf.shape(value))]):
        return {"error": tf.constant(message)}


def _checked(value: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    """Returns `value` if it has the shape of `spec`, else fails at run time."""
    unknown = sum(size is None for size in spec.shape)
    # Hides the static shape: a wrong one that is known while a caller's graph is traced would fail there, in the first
    # op that notices.
    value = tf.raw_ops.PlaceholderWithDefault(input=value, shape=tf.TensorShape(None))
    found = tf.shape(value)
    # Compared as text, since the number of dimensions may differ as well.
    rest = tf.strings.reduce_join(tf.as_string(found[unknown:]), separator=",")
    fits = (tf.rank(value) == spec.shape.rank) & (rest == ",".join(str(size) for size in spec.shape[unknown:]))
    with tf.control_dependencies([require(fits, f"{_expected(spec)}; the shape found is", found)]):
        value = tf.identity(value)
    # Not `tf.ensure_shape`, whose less helpful error could come first.
    value.set_shape(spec.shape)
    return value
