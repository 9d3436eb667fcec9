"""Functions and signatures of an exported SavedModel."""

import functools
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from glow_tf.analysis.attributes import Directions
from glow_tf.analysis.interpolation import lerp, nearer_to_start
from glow_tf.bijectors import base
from glow_tf.data.picture_files import DEFAULT_MEGAPIXELS
from glow_tf.dequantization import random
from glow_tf.export import pictures
from glow_tf.export.endpoints import Tensors, endpoint, require, trace_for_any_shape
from glow_tf.models import checks
from glow_tf.models.derived import DerivedCache
from glow_tf.models.flow import Flow
from glow_tf.models.labels import cycle_labels
from glow_tf.models.likelihood import Likelihood, within_support
from glow_tf.runtime import devices
from glow_tf.runtime.internals import untracked

# Image inputs and outputs, and the names of the files that replace them.
_FILES = {"images": "image_bytes", "start": "start_bytes", "end": "end_bytes"}


class ServedFlow(tf.train.Checkpoint):
    """A flow that plain TensorFlow runs, without this package.

    Each function is both an attribute of the loaded object and a signature of the same name:

      log_prob(images, seed=0)                ->  log_prob: [B] in nats, bits_per_dim: [B]
      encode(images)                          ->  latents: [B, D], standard normal under the model
      decode(latents)                         ->  images
      sample(num, temperature=1, seed=0)      ->  images: [num, H, W, C]
      features(images)                        ->  level_1, ... level_L: [B, h, w, c], see `Flow.features`
      reconstruct(images)                     ->  images, restored in the bits that are modelled
      interpolate(start, end, steps=8)        ->  images: [B, steps + 1, H, W, C], from start to end, both included
      manipulate(images, direction, scale=1)  ->  images, decoded from latents + scale * direction
      classify(images)                        ->  logits: [B, num_classes]; of a model with a classifier
      attributes()                            ->  names: [A], directions: [A, D]; if exported with directions
      serving_default(images)                 ->  as log_prob with seed 0; only a signature

    images, start and end are [B, H, W, C] uint8, [B, T, C] for a flow of sequences, and floats for a flow of real
    numbers. direction is [B, D] or [1, D], scale [B] or [1]. log_prob is that of the discrete image, a lower bound of
    it in expectation, under one draw of dequantization noise that depends only on the seed and the image.

    For uint8 images of 1 or 3 channels there are also `encode_bytes` and so on, which take PNG and JPEG files of any
    size and return PNG files: `image_bytes`, `start_bytes` and `end_bytes`, strings [B], replace the images. Pictures
    are turned upright, resized and centre-cropped to the same pixels as in training. `encode_bytes_exact` and so on
    reject files of another size instead. Returned files are for display: with n_bits < 8, their levels are spread over
    0 to 255, while `images` have the values that `Flow.decode` gives; both have the same latents.

    With a label-conditional model, `labels`: [B] int32 follow the images or latents, except for `classify`, and
    `end_labels` those of the start (images in between have the label of the nearer end); the labels of `sample` come
    last and by default cycle through the classes.

    The loaded object is a TF Hub reusable SavedModel: it can be called, f(images) -> latents [B, D], or for a
    conditional model f({"images": ..., "labels": ...}), and has `variables`, `trainable_variables` and
    `regularization_losses`. Gradients reach the weights. TensorFlow traces a function again for each new Python number
    passed as seed, steps or scale; if there are many, pass them as tensors, or to a signature.

    TensorFlow loads a function with copies of the graphs that it calls, so that only functions that may be
    differentiated call those with gradients, which are several times as large.

    Args:
      flow: the model; its variables become the SavedModel's.
      directions: attribute directions, or None.
      max_megapixels: largest picture file that is decoded, in 10^6 pixels; larger ones are rejected.
      crop_from: side of the squares that picture files are fitted to before a central crop; None for no crop.
      kinds: kinds of devices that the functions run on.
      differentiable: whether they have gradients.

    Raises:
      ValueError: if the directions are for latents of another size, or no picture would be small enough.
    """

    def __init__(
        self,
        flow: Flow,
        directions: Directions | None = None,
        max_megapixels: float = DEFAULT_MEGAPIXELS,
        crop_from: int | None = None,
        kinds: Sequence[str] = devices.KINDS,
        differentiable: bool = True,
    ):
        super().__init__()
        self.flow = flow
        self._kinds = tuple(kinds)
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
        # Graphs of both directions, that are shared by all functions which call them.
        x, latents = tf.TensorSpec([None, *config.image_shape], flow.dtype, "x"), self._specs["latents"]
        label_specs = [self._specs[name] for name in labels]
        self._inverse = _graph(self._inverse_pass, latents, *label_specs)
        # Decoding has no gradient, so that encoding images to decode them needs none.
        self._encoder_for_decoding, self._encoder = self._graphs(self._forward_pass, differentiable, x, *label_specs)
        self._noise = None
        if flow.dequantizer:
            seeds = tf.TensorSpec([None, 2], tf.int32, "seeds")
            self._noise = self._graphs(self._noise_pass, differentiable, x, seeds, *label_specs)[1]
        self._decoders = {}
        if checks.are_pictures(config):
            max_pixels = int(max_megapixels * 1e6)
            if max_pixels < 1:
                raise ValueError(f"max_megapixels={max_megapixels!r} must allow at least one pixel.")
            self._decoders = {
                "bytes": self._decoder(max_pixels, crop_from),
                "bytes_exact": self._decoder(max_pixels, exact=True),
            }
        self._signatures = untracked(self, {})
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
        if config.classifier and not config.classifier_is_given_labels:
            self._add("classify", self._classify, ["images"])
        if directions is not None:
            self._add("attributes", self._attributes, [])
        inputs = {name: self._specs[name] for name in ["images", *labels]}
        # TensorFlow restores an attribute of this name as the object's call method.
        self.__call__ = trace_for_any_shape(self._call, [inputs if labels else inputs["images"]], _FILES)
        self.trainable_variables = list(flow.trainable_variables)
        self.variables = self.trainable_variables + [v for v in flow.variables if not v.trainable]
        self.regularization_losses = []

    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """Returns the signatures by name."""
        return dict(self._signatures)

    def _add(self, name: str, body: Callable[..., Tensors], inputs: list[str], defaults: Mapping | None = None) -> None:
        """Adds a function and its signature, and for pictures those that take and return files."""
        specs = [self._specs[key] for key in inputs]
        self._add_one(name, body, specs, defaults)
        if name == "attributes":
            return
        file_names = {key: _FILES[key] for key in inputs if key in _FILES}
        file_specs = [
            tf.TensorSpec([None], tf.string, _FILES[key]) if key in _FILES else self._specs[key] for key in inputs
        ]
        for kind, decoder in self._decoders.items():
            if file_names or kind == "bytes":
                on_files = functools.partial(self._on_files, body, file_names, decoder)
                self._add_one(f"{name}_{kind}", on_files, file_specs, defaults)

    def _on_files(self, body: Callable[..., Tensors], names: Mapping[str, str], decoder, **values) -> Tensors:
        """Decodes file inputs, which `names` maps image inputs to, calls `body`, and encodes the images it returns."""
        for key, file_name in names.items():
            values[key] = decoder(values.pop(file_name), tf.constant(file_name))
        outputs = body(**values)
        if "images" in outputs:
            displayed = self.flow.config.dequantizer.displayed(outputs.pop("images"))
            outputs["image_bytes"] = pictures.encode_png(displayed)
        return outputs

    def _decoder(
        self, most_pixels: int, crop_from: int | None = None, *, exact: bool = False
    ) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """Returns a graph that decodes files [B], shared by all functions; see `pictures.decode_files`."""
        shape = self.flow.config.image_shape

        def decode(files, name):
            return pictures.decode_files(files, shape, name, most_pixels, crop_from=crop_from, exact=exact)

        files, name = tf.TensorSpec([None], tf.string, "files"), tf.TensorSpec([], tf.string, "name")
        return _graph(decode, files, name)

    def _add_one(self, name: str, body: Callable[..., Tensors], specs: list[tf.TensorSpec], defaults) -> None:
        function, self._signatures[name] = endpoint(body, specs, defaults, data=_FILES)
        setattr(self, f"_{name}_function" if name.startswith("serving_default") else name, function)

    def _forward_pass(self, gradient, x, labels=None):
        bijector = self.flow.bijector(labels, derived=self.derived(), gradient=gradient)
        latents, log_dets, levels = bijector.forward_through_levels(x)
        return {"latents": latents, "log_det": base.sum_log_dets(log_dets, latents), "levels": levels}

    def _noise_pass(self, gradient, images, seeds, labels=None):
        return self.flow.noise(images, labels, seeds, gradient=gradient)

    def _inverse_pass(self, latents, labels=None):
        return devices.portable(
            lambda: self.flow.decode_and_check(latents, labels, derived=self.derived()), self._kinds
        )

    def _graphs(
        self, function: Callable, differentiable: bool, x: tf.TensorSpec, *specs: tf.TensorSpec
    ) -> tuple[tf.types.experimental.ConcreteFunction, tf.types.experimental.ConcreteFunction]:
        """Returns a graph of `function` without gradients, and one that calls it with those for `x` and variables.

        Both are the first one if not `differentiable`. TensorFlow cannot differentiate loops in a branch of a loaded
        graph.

        Args:
          function: takes a gradient mode, as `Flow.bijector` does, and tensors; returns a nest of tensors.
          differentiable: whether there is a second graph.
          x: of the first tensor.
          *specs: of the others.
        """

        def without_gradient(*values):
            return devices.portable(lambda: function("none", *values), self._kinds)

        graph = _graph(without_gradient, x, *specs)
        if not differentiable:
            return graph, graph
        mode = self.flow.config.gradient

        def with_gradient(x, *others):
            @tf.custom_gradient
            def call(x):
                # Without trained variables, TensorFlow passes none.
                def gradient_of(*upstream, variables=()):
                    def backward():
                        with tf.GradientTape(watch_accessed_variables=False) as tape:
                            tape.watch([x, *variables])
                            outputs = tf.nest.flatten(function(mode, x, *others))
                        sources = [x, *variables]
                        return tape.gradient(outputs, sources, output_gradients=upstream, unconnected_gradients="zero")

                    dx, *dvariables = devices.portable(backward, self._kinds)
                    return (dx, dvariables) if variables else dx

                return graph(x, *others), gradient_of

            return call(x)

        return graph, _graph(with_gradient, x, *specs)

    def _call(self, inputs):
        (output,) = self.encode(**inputs if self.flow.config.conditional else {"images": inputs}).values()
        return output

    def _log_prob(self, images, labels=None, seed=0):
        label_args = self._labels(labels, tf.shape(images)[0])
        seeds = random.seeds_of(images, tf.stack([0, seed]))
        if self._noise:
            x, log_q = self._noise(tf.cast(images, self.flow.dtype), seeds, *label_args)
        else:
            x, log_q = self.flow.dequantize(images, *(label_args or [None]), seeds)
        x, log_support = within_support(self.flow, x)
        found = self._encoder(x, *label_args)
        log_dets = [found["log_det"], *([] if log_support is None else [log_support])]
        likelihood = Likelihood(self.flow, found["latents"], log_dets, log_q)
        return {"log_prob": likelihood.discrete_log_prob, "bits_per_dim": likelihood.bits_per_dim}

    def _encoded(self, images, labels):
        return self._encoder(self.flow.centers(images), *self._labels(labels, tf.shape(images)[0]))

    def _encode(self, images, labels=None):
        return {"latents": self._encoded(images, labels)["latents"]}

    def _latents_for_images(self, images, labels):
        """Returns the latents of images to be decoded, without gradients."""
        label_args = self._labels(labels, tf.shape(images)[0])
        return self._encoder_for_decoding(self.flow.centers(images), *label_args)["latents"]

    def _features(self, images, labels=None):
        levels = self._encoded(images, labels)["levels"]
        return {f"level_{number}": level for number, level in enumerate(levels, 1)}

    def _classify(self, images):
        # Of any class, if the top prior is conditional: the classifier reads what the prior has not whitened.
        labels = tf.zeros(tf.shape(images)[:1], tf.int32) if self.flow.config.conditional else None
        latents = self._encoded(images, labels)["latents"]
        return {"logits": devices.portable(lambda: self.flow.class_logits(latents, labels), self._kinds)}

    def _decode(self, latents, labels=None):
        return self._images(latents, self._labels(labels, tf.shape(latents)[0]))

    def _images(self, latents, label_args):
        images, finite = self._inverse(latents, *label_args)
        message = f"{checks.NOT_FINITE} {self.flow.config.events.capitalize()}, and those that are not finite numbers:"
        not_finite = tf.math.count_nonzero(~finite, dtype=tf.int32)
        with tf.control_dependencies([require(not_finite == 0, message, tf.size(finite), not_finite)]):
            return {"images": tf.identity(images)}

    def _reconstruct(self, images, labels=None):
        return self._decode(self._latents_for_images(images, labels), labels)

    def _sample(self, num, temperature, seed, labels=None):
        flow = self.flow
        valid = (temperature >= 0) & tf.math.is_finite(temperature)
        required = [
            require(num >= 0, "num must not be negative; it is", num),
            require(valid, "temperature must be finite and not negative; it is", temperature),
        ]
        with tf.control_dependencies(required):
            num = tf.identity(num)
        if labels is not None:
            labels = tf.cond(tf.size(labels) > 0, lambda: labels, lambda: cycle_labels(num, flow.config.num_classes))
        label_args = self._labels(labels, num)
        latents = flow.sample_latents(num, temperature, *(label_args or [None]), seed=tf.stack([0, seed]))
        return self._images(tf.ensure_shape(latents, [None, flow.config.dimensions]), label_args)

    def _interpolate(self, start, end, steps, labels=None, end_labels=None):
        config = self.flow.config
        same = tf.shape(start)[0] == tf.shape(end)[0]
        required = [
            require(steps >= 1, "steps must be at least 1; it is", steps),
            require(same, "start and end must be equally many images; there are", tf.shape(start)[0], tf.shape(end)[0]),
        ]
        with tf.control_dependencies(required):
            fractions = tf.cast(tf.range(steps + 1), self.flow.dtype) / tf.cast(steps, self.flow.dtype)
        a = self._latents_for_images(start, labels)[:, tf.newaxis]
        b = self._latents_for_images(end, end_labels)[:, tf.newaxis]
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
        return self._decode(self._latents_for_images(images, labels) + moves, labels)

    def _attributes(self):
        return {"names": tf.identity(self._names), "directions": tf.identity(self._directions)}

    def _labels(self, labels: tf.Tensor | None, count: tf.Tensor) -> list[tf.Tensor]:
        """Returns the labels, checked to be `count`, as further arguments of a pass; an empty list for None."""
        if labels is None:
            return []
        message = "labels needs one entry for each image; labels and images are"
        check = require(tf.size(labels) == count, message, tf.size(labels), count)
        with tf.control_dependencies([check]):
            return [tf.identity(labels)]


def _graph(function: Callable, *specs: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
    return tf.function(function, autograph=False).get_concrete_function(*specs)
