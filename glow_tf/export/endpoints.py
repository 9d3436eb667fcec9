"""Functions of a SavedModel: declared inputs, defaults, and errors that teach."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

Tensors = dict[str, tf.Tensor]


# What pixels may come as by mistake.
_MISTAKEN = (tf.bool, tf.int32, tf.int64, tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.string)


def endpoint(
    body: Callable[..., Tensors], inputs: Sequence[tf.TensorSpec], defaults: Mapping[str, tf.Tensor] | None = None
) -> tuple[tf.types.experimental.PolymorphicFunction, tf.types.experimental.PolymorphicFunction]:
    """A function of a SavedModel, and its signature.

    The signature states the shapes of `inputs`, for people and tools to read. The function takes any shape, and in the
    place of pixels any dtype: the graph itself checks what comes in, with errors that say what is wanted. TensorFlow
    would turn arrays of floats into uint8 without a word.

    Args:
      body: takes checked tensors by the names of `inputs`.
      inputs: names, dtypes, and shapes: any number of leading dimensions of size None, and others known.
      defaults: of the inputs that can be left out, which come last.

    Returns:
      The function, to be an attribute of the SavedModel's object; and what `tf.saved_model.save` makes a signature of.
    """

    def checked(**values):
        mistaken = [spec for spec in inputs if values[spec.name].dtype != spec.dtype]
        if mistaken:
            return _refused(values[mistaken[0].name], mistaken[0])
        return body(**{spec.name: _checked(values[spec.name], spec) for spec in inputs})

    function = of_any_shape(_declared(checked, inputs, defaults), inputs)
    signature = _declared(lambda **values: function(**values), inputs, defaults)
    return function, tf.function(signature, input_signature=list(inputs), autograph=False)


def of_any_shape(function: Callable, inputs: Sequence[Any]) -> tf.types.experimental.PolymorphicFunction:
    """`function` traced for what a SavedModel shall take: `inputs` of any shape, and any dtype in the place of uint8.

    Args:
      function: takes as many arguments as there are `inputs`, and may have defaults for the last of them.
      inputs: `tf.TensorSpec`s, or nests of them.
    """
    with_pixels = any(spec.dtype == tf.uint8 for spec in tf.nest.flatten(inputs))
    if not with_pixels:
        relaxed = tf.nest.map_structure(lambda spec: tf.TensorSpec(None, spec.dtype, spec.name), list(inputs))
        return tf.function(function, input_signature=relaxed, autograph=False)
    traced = tf.function(function, autograph=False)
    for dtype in (tf.uint8, *_MISTAKEN):
        specs = tf.nest.map_structure(
            lambda spec: tf.TensorSpec(None, dtype if spec.dtype == tf.uint8 else spec.dtype, spec.name),  # noqa: B023
            list(inputs),
        )
        traced.get_concrete_function(*specs)
    return traced


def require(condition: tf.Tensor, message: str, *values: tf.Tensor) -> tf.Operation:
    """An error with `message` and `values` when the graph runs, unless `condition`; a control dependency."""
    return tf.debugging.Assert(condition, [message, *values], summarize=8)


def _declared(function: Callable[..., Tensors], inputs, defaults) -> Callable[..., Tensors]:
    """`function`, which takes keywords, with a parameter for each input: TensorFlow reads names and defaults off it."""
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
    """An error when the graph runs."""
    message = f"{_expected(spec)}; the dtype found is {value.dtype.name}, the shape"
    with tf.control_dependencies([require(tf.constant(False), message, tf.shape(value))]):
        return {"error": tf.constant(message)}


def _checked(value: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    """`value` if it has the shape that `spec` states, else an error when the graph runs."""
    unknown = sum(size is None for size in spec.shape)
    # A shape that is known while a caller's graph is made would be refused then, by whatever op meets it first.
    value = tf.raw_ops.PlaceholderWithDefault(input=value, shape=tf.TensorShape(None))
    found = tf.shape(value)
    # As text, as the number of dimensions may differ too.
    rest = tf.strings.reduce_join(tf.as_string(found[unknown:]), separator=",")
    fits = (tf.rank(value) == spec.shape.rank) & (rest == ",".join(str(size) for size in spec.shape[unknown:]))
    with tf.control_dependencies([require(fits, f"{_expected(spec)}; the shape found is", found)]):
        value = tf.identity(value)
    # Not `tf.ensure_shape`, whose own error, which says less, may come first.
    value.set_shape(spec.shape)
    return value
