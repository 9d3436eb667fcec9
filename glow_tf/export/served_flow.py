"""Functions and signatures of an exported SavedModel."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from glow_tf.analysis.attributes import Directions
from glow_tf.analysis.interpolation import lerp, nearer_to_start
from glow_tf.bijectors import base
from glow_tf.data.picture_files import DEFAULT_MEGAPIXELS
from glow_tf.dequantization import random
from glow_tf.export import pictures
from glow_tf.export.endpoints import Tensors, endpoint, of_any_shape, require
from glow_tf.models import checks
from glow_tf.models.derived import DerivedCache
from glow_tf.models.flow import Flow
from glow_tf.models.labels import cycle_labels
from glow_tf.models.likelihood import Likelihood
from glow_tf.runtime import devices

# Inputs and outputs that are images, and what takes their place where they come as files.
_FILES = {"images": "image_bytes", "start": "start_bytes", "end": "end_bytes"}


class ServedFlow(tf.train.Checkpoint):
    """A flow as plain TensorFlow runs it, without this package.

    Each function is there twice, as an attribute of the loaded object and as a signature of the same name:

      log_prob(images, seed=0)                ->  log_prob: [B] in nats, bits_per_dim: [B]
      encode(images)                          ->  latents: [B, D], standard normal under the model
      decode(latents)                         ->  images
      sample(num, temperature=1, seed=0)      ->  images: [num, H, W, C]
      features(images)                        ->  level_1, ... level_L: [B, h, w, c], see `Flow.features`
      reconstruct(images)                     ->  images, as they were to the bits that the model knows
      interpolate(start, end, steps=8)        ->  images: [B, steps + 1, H, W, C], from start to end, both included
      manipulate(images, direction, scale=1)  ->  images, decoded from latents + scale * direction
      attributes()                            ->  names: [A], directions: [A, D]; where exported with them
      serving_default(images)                 ->  as log_prob with seed 0; a signature alone

    images, start and end are [B, H, W, C] uint8; of a flow of sequences [B, T, C], and of one of real numbers floats.
    direction is [B, D] or [1, D], scale [B] or [1]. log_prob is that of the discrete image, a lower bound of it in
    expectation, under one draw of dequantization noise that depends on the seed and the image alone. Images of 1 or 3
    channels have also `encode_bytes` and so on, which take PNG and JPEG files of any size, and give PNG:
    `image_bytes`, `start_bytes`, `end_bytes`, strings [B], in the place of images. Pictures are turned upright, resized
    and cropped to the centre as in training, to the same pixels. `encode_bytes_exact` and so on refuse files of another
    size instead. The files they give are for people: with n_bits < 8, their levels are spread over 0 to 255, where
    `images` have the values that `Flow.decode` gives; both have the same latents.

    With a label-conditional model, `labels`: [B] int32 follow the images or latents, `end_labels` those of the start
    (images on the way have the label of the nearer end); those of `sample` come last, by default the classes in turn.

    The loaded object is a reusable SavedModel of TF Hub: it can be called, f(images) -> latents [B, D], for a
    conditional model f({"images": ..., "labels": ...}), and has `variables`, `trainable_variables` and
    `regularization_losses`. Gradients reach the weights. Python numbers for seed, steps and scale are part of what
    TensorFlow compiles a function for; many different ones are better given as tensors, or to a signature.

    Args:
      flow: the model; its variables become the SavedModel's.
      directions: of attributes, or None.
      max_megapixels: largest picture file that is decoded, in 10^6 pixels; larger ones are refused.

    Raises:
      ValueError: if the directions are those of a model with latents of another size, or no picture is small enough.
    """

    def __init__(self, flow: Flow, directions: Directions | None = None, max_megapixels: float = DEFAULT_MEGAPIXELS):
        super().__init__()
        self.flow = flow
        self.derived = DerivedCache(flow)
        self._directions = None
        if directions is not None:
            directions.check_dimensions(flow.config.dimensions)
            self._names = tf.constant(directions.names)
            self._directions = tf.Variable(directions.vectors, trainable=False, dtype=flow.dtype, name="directions")
        config = flow.config
        labels, data_dtype = ["labels"] if config.conditional else [], config.dequantizer.data_dtype(flow.dtype)
        self._specs = {
            **{name: tf.TensorSpec([None, *config.image_shape], data_dtype, name) for name in _FILES},
            **{name: tf.TensorSpec([None, config.dimensions], flow.dtype, name) for name in ("latents", "direction")},
            **{name: tf.TensorSpec([None], tf.int32, name) for name in ("labels", "end_labels")},
            **{name: tf.TensorSpec([], tf.int32, name) for name in ("num", "steps", "seed")},
            "temperature": tf.TensorSpec([], flow.dtype, "temperature"),
            "scale": tf.TensorSpec([None], flow.dtype, "scale"),
        }
        # One graph of each direction, whatever the number of functions that call it.
        x, latents = tf.TensorSpec([None, *config.image_shape], flow.dtype, "x"), self._specs["latents"]
        of_labels = [self._specs[name] for name in labels]
        self._forward = tf.function(self._forward_pass, autograph=False).get_concrete_function(x, *of_labels)
        self._inverse = tf.function(self._inverse_pass, autograph=False).get_concrete_function(latents, *of_labels)
        self._decoders = {}
        if config.events == "images" and config.image_shape[-1] in (1, 3):
            most = int(max_megapixels * 1e6)
            self._decoders = {"bytes": self._decoder(most), "bytes_exact": self._decoder(most, exact=True)}
        self._signatures = {}
        seed = {"seed": tf.constant(0)}
        draw = {"temperature": tf.constant(1, flow.dtype), **seed}
        classes = {"labels": tf.zeros([0], tf.int32)} if labels else {}
        self._add("serving_default", self._log_prob, ["images", *labels])
        self._add("log_prob", self._log_prob, ["images", *labels, "seed"], seed)
        self._add("encode", self._encode, ["images", *labels])
        self._add("decode", self._decode, ["latents", *labels])
        self._add("sample", self._sample, ["num", "temperature", "seed", *labels], {**draw, **classes})
        self._add("features", self._features, ["images", *labels])
        self._add("reconstruct", self._reconstruct, ["images", *labels])
        ends = ["start", "end", *labels, *(["end_labels"] if labels else [])]
        self._add("interpolate", self._interpolate, [*ends, "steps"], {"steps": tf.constant(8)})
        scale = {"scale": tf.ones([1], flow.dtype)}
        self._add("manipulate", self._manipulate, ["images", *labels, "direction", "scale"], scale)
        if directions is not None:
            self._add("attributes", self._attributes, [])
        inputs = {name: self._specs[name] for name in ["images", *labels]}
        # TensorFlow restores an attribute of this name as what calling the object does.
        self.__call__ = of_any_shape(self._call, [inputs if labels else inputs["images"]], _FILES)
        self.trainable_variables = list(flow.trainable_variables)
        self.variables = self.trainable_variables + [v for v in flow.variables if not v.trainable]
        self.regularization_losses = []

    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """Returns the signatures by their names."""
        return dict(self._signatures)

    def _add(self, name: str, body: Callable[..., Tensors], inputs: list[str], defaults: Mapping | None = None) -> None:
        """Adds a function and its signature, and where there are pictures those that take and give files."""
        specs = [self._specs[key] for key in inputs]
        self._add_one(name, body, specs, defaults)
        if name == "attributes":
            return
        of_files = {key: _FILES[key] for key in inputs if key in _FILES}
        as_files = [
            tf.TensorSpec([None], tf.string, _FILES[key]) if key in _FILES else self._specs[key] for key in inputs
        ]
        for kind, decoder in self._decoders.items():
            if of_files or kind == "bytes":
                on_files = functools.partial(self._on_files, body, of_files, decoder)
                self._add_one(f"{name}_{kind}", on_files, as_files, defaults)

    def _on_files(self, body: Callable[..., Tensors], names: Mapping[str, str], decoder, **values) -> Tensors:
        """Calls `body` on images decoded from the inputs that are files, by the names of both; encodes its images."""
        for key, of_files in names.items():
            values[key] = decoder(values.pop(of_files), tf.constant(of_files))
        outputs = body(**values)
        if "images" in outputs:
            displayed = self.flow.config.dequantizer.displayed(outputs.pop("images"))
            outputs["image_bytes"] = pictures.encoded(displayed)
        return outputs

    def _decoder(self, most_pixels: int, *, exact: bool = False) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """Returns the one graph that decodes files [B], see `pictures.decoded`."""
        shape = self.flow.config.image_shape

        def decode(files, name):
            return pictures.decoded(files, shape, name, most_pixels, exact=exact)

        files, name = tf.TensorSpec([None], tf.string, "files"), tf.TensorSpec([], tf.string, "name")
        return tf.function(decode, autograph=False).get_concrete_function(files, name)

    def _add_one(self, name: str, body: Callable[..., Tensors], specs: list[tf.TensorSpec], defaults) -> None:
        function, self._signatures[name] = endpoint(body, specs, defaults, data=_FILES)
        setattr(self, f"_{name}_function" if name.startswith("serving_default") else name, function)

    def _forward_pass(self, x, labels=None):
        def forward(x, gradient):
            bijector = self.flow.bijector(labels, derived=self.derived(), gradient=gradient)
            latents, log_dets, levels = bijector.forward_through_levels(x)
            return latents, base.sum_log_dets(log_dets, latents), *levels

        latents, log_det, *levels = _portable(forward, x, self.flow.config.gradient)
        return {"latents": latents, "log_det": log_det, "levels": levels}

    def _noise(self, images, seeds, labels=None):
        """Returns the images with noise, and its log-density, as `Flow.dequantize` does."""
        if not self.flow.dequantizer:
            return self.flow.dequantize(images, seeds, labels)

        def noise(values, gradient):
            return self.flow.noise(values, seeds, labels, gradient=gradient)

        return tuple(_portable(noise, tf.cast(images, self.flow.dtype), self.flow.config.gradient))

    def _inverse_pass(self, latents, labels=None):
        return devices.portable(lambda: self.flow.decode_and_check(latents, labels, self.derived()))

    def _call(self, inputs):
        (output,) = self.encode(**inputs if self.flow.config.conditional else {"images": inputs}).values()
        return output

    def _log_prob(self, images, labels=None, seed=0):
        of_labels = self._labels(labels, tf.shape(images)[0])
        x, log_q = self._noise(images, random.seeds_of(images, tf.stack([0, seed])), *of_labels)
        found = self._forward(x, *of_labels)
        likelihood = Likelihood(self.flow, found["latents"], [found["log_det"]], log_q)
        return {"log_prob": likelihood.discrete_log_prob, "bits_per_dim": likelihood.bits_per_dim}

    def _encoded(self, images, labels):
        return self._forward(self.flow.centers(images), *self._labels(labels, tf.shape(images)[0]))

    def _encode(self, images, labels=None):
        return {"latents": self._encoded(images, labels)["latents"]}

    def _features(self, images, labels=None):
        levels = self._encoded(images, labels)["levels"]
        return {f"level_{number}": level for number, level in enumerate(levels, 1)}

    def _decode(self, latents, labels=None):
        return self._images(latents, self._labels(labels, tf.shape(latents)[0]))

    def _images(self, latents, of_labels):
        images, finite = self._inverse(latents, *of_labels)
        message = f"{checks.NOT_FINITE} {self.flow.config.events.capitalize()}, and those that are not finite numbers:"
        not_finite = tf.math.count_nonzero(~finite, dtype=tf.int32)
        with tf.control_dependencies([require(not_finite == 0, message, tf.size(finite), not_finite)]):
            return {"images": tf.identity(images)}

    def _reconstruct(self, images, labels=None):
        return self._decode(self._encode(images, labels)["latents"], labels)

    def _sample(self, num, temperature, seed, labels=None):
        flow = self.flow
        right = (temperature >= 0) & tf.math.is_finite(temperature)
        required = [
            require(num >= 0, "num must not be negative; it is", num),
            require(right, "temperature must not be negative, and finite; it is", temperature),
        ]
        with tf.control_dependencies(required):
            num = tf.identity(num)
        if labels is not None:
            labels = tf.cond(tf.size(labels) > 0, lambda: labels, lambda: cycle_labels(num, flow.config.num_classes))
        of_labels = self._labels(labels, num)
        latents = flow.sample_latents(num, temperature, *(of_labels or [None]), seed=tf.stack([0, seed]))
        return self._images(tf.ensure_shape(latents, [None, flow.config.dimensions]), of_labels)

    def _interpolate(self, start, end, steps, labels=None, end_labels=None):
        config = self.flow.config
        same = tf.shape(start)[0] == tf.shape(end)[0]
        required = [
            require(steps >= 1, "steps must be at least 1; it is", steps),
            require(same, "start and end must be as many images; there are", tf.shape(start)[0], tf.shape(end)[0]),
        ]
        with tf.control_dependencies(required):
            fractions = tf.cast(tf.range(steps + 1), self.flow.dtype) / tf.cast(steps, self.flow.dtype)
        a = self._encode(start, labels)["latents"][:, tf.newaxis]
        b = self._encode(end, end_labels)["latents"][:, tf.newaxis]
        t = fractions[tf.newaxis, :, tf.newaxis]
        path = tf.reshape(lerp(a, b, t), [-1, config.dimensions])
        if labels is not None:
            labels = tf.where(nearer_to_start(fractions), labels[:, tf.newaxis], end_labels[:, tf.newaxis])
            labels = tf.reshape(labels, [-1])
        images = self._decode(path, labels)["images"]
        return {"images": tf.reshape(images, [-1, steps + 1, *config.image_shape])}

    def _manipulate(self, images, direction, scale, labels=None):
        count = tf.shape(images)[0]
        required = [
            require(
                (tf.shape(value)[0] == 1) | (tf.shape(value)[0] == count),
                f"{name} must have one row, or one for each image; rows and images are",
                tf.shape(value)[0],
                count,
            )
            for name, value in (("direction", direction), ("scale", scale))
        ]
        with tf.control_dependencies(required):
            moves = tf.identity(scale)[:, tf.newaxis] * tf.identity(direction)
        return self._decode(self._encode(images, labels)["latents"] + moves, labels)

    def _attributes(self):
        return {"names": tf.identity(self._names), "directions": tf.identity(self._directions)}

    def _labels(self, labels: tf.Tensor | None, count: tf.Tensor) -> list[tf.Tensor]:
        """Returns the labels, checked to be `count`, as further arguments of a pass; none where there are none."""
        if labels is None:
            return []
        message = "labels needs one entry for each image; labels and images are"
        check = require(tf.size(labels) == count, message, tf.size(labels), count)
        with tf.control_dependencies([check]):
            return [tf.identity(labels)]


def _portable(function: Callable[[tf.Tensor, str], Sequence[tf.Tensor]], x: tf.Tensor, gradient: str) -> Any:
    """Makes the operations of a function of `x` for each kind of device, and those of its gradient.

    TensorFlow makes no gradient of loops in a branch of a graph that was loaded.

    Args:
      function: takes `x` and how steps are differentiated, as `Flow.bijector` does: `none`, or `gradient`.
    """

    @tf.custom_gradient
    def portable(x):
        def gradient_of(*upstream, variables):
            def backward():
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch([x, *variables])
                    outputs = function(x, gradient)
                sources = [x, *variables]
                return tape.gradient(outputs, sources, output_gradients=upstream, unconnected_gradients="zero")

            dx, *dvariables = devices.portable(backward)
            return dx, dvariables

        return devices.portable(lambda: function(x, "none")), gradient_of

    return portable(x)
