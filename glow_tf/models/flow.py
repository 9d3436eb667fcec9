"""The model: variables, and the distribution they define."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import parameters
from glow_tf.config import ModelConfig
from glow_tf.dequantization import random
from glow_tf.layers import Layer
from glow_tf.mode import Mode
from glow_tf.models import checks, variables
from glow_tf.models.distribution import FlowBijector, FlowDistribution
from glow_tf.models.gradients import gradients_in_parts
from glow_tf.models.labels import cycle_labels
from glow_tf.models.likelihood import Likelihood, likelihood
from glow_tf.models.seeds import stateless_seed
from glow_tf.networks import zero_layer
from glow_tf.runtime import products
from glow_tf.runtime.runtime import Runtime
from glow_tf.runtime.sharding import pad_if_empty
from glow_tf.shapes import leaving_shape

tfb = tfp.bijectors
tfd = tfp.distributions


class Flow(tf.Module):
    """A normalizing flow over images, sequences or flat vectors, with exact likelihood, exact latents and sampling.

    The K steps of a stack share variables with a leading axis of size K. Call `initialize` with a batch of images
    before training: it sets every actnorm from that batch.

    Args:
      config: model config, from a preset, such as `glow_tf.glow`, or your own.
      seed: seed of the initial weights.
      dtype: dtype of all variables and computations, tf.float32 or tf.float64.
      runtime: device and precision settings, which may be changed later; the best available device by default.

    Attributes:
      config: the `ModelConfig`.
      runtime: as above.
      initialized: a bool variable, true once the data-dependent initialisation or a checkpoint has set the weights.

    Examples:
      >>> flow = glow_tf.Flow(glow_tf.glow((8, 8, 3), K=2, L=2, width=8))
      >>> photos = np.random.default_rng(0).integers(0, 256, [16, 8, 8, 3], np.uint8)
      >>> flow.initialize(photos)
      >>> z = flow.encode(photos)
      >>> z.shape
      TensorShape([16, 192])
      >>> np.array_equal(flow.decode(z), photos)
      True
      >>> flow.bits_per_dim(photos).shape
      TensorShape([16])
    """

    def __init__(
        self,
        config: ModelConfig,
        seed: int = 0,
        *,
        dtype: tf.DType = tf.float32,
        runtime: Runtime | None = None,
        name: str = "flow",
    ):
        super().__init__(name=name)
        self.config = config
        self.runtime = runtime or Runtime.detect()
        self.dtype = tf.as_dtype(dtype)
        if self.dtype not in (tf.float32, tf.float64):
            raise ValueError(f"dtype={self.dtype.name} must be float32 or float64; bfloat16 is a network_precision.")
        self._seed = int(seed)
        self._shapes = config.shapes()
        made = variables.model_parameters(config, self._seed)
        nest = parameters.unflatten_nest({path: variables.create(part, path, self.dtype) for path, part in made})
        self.layers, self.classifier = nest.get("layers", {}), nest.get("classifier", {})
        self.dequantizer = nest.get("dequantizer", {})
        self.initialized = tf.Variable(False, trainable=False, name="initialized")

    def __repr__(self) -> str:
        # Variables have no values while a function is traced.
        with tf.init_scope():
            weights = "initialized" if self.initialized.numpy() else "not initialized"
        count = f"{variables.parameter_count(self.config):,} parameters"
        return f"<{type(self).__name__} {self.config.describe()}, {count}, {weights}>"

    def named_variables(self, *, trainable: bool = False) -> dict[str, tf.Variable]:
        """Returns all parameters, or the trainable ones, by path, such as `layers/01_steps/network/conv1/kernel`."""
        parts = {"layers": self.layers, "classifier": self.classifier, "dequantizer": self.dequantizer}
        found = parameters.flatten_nest(parts)
        return {path: v for path, v in found if v.trainable or not trainable}

    def decayed_variables(self) -> list[tf.Variable]:
        """Returns the trainable variables that weight decay applies to; see `Layer.decays`."""
        nests = [(layer, tensors) for layer, _, tensors in self.iter_layers()]
        return [
            v
            for part, nest in [*nests, (self.config.dequantizer, self.dequantizer)]
            for path, v in parameters.flatten_nest(nest)
            if v.trainable and part.decays(path, tuple(v.shape))
        ]

    def bijector(
        self,
        labels: tf.Tensor | None = None,
        *,
        context: Any = None,
        network_precision: str = "float32",
        training: bool = False,
        seed: int | tf.Tensor | None = None,
        derived: Mapping[int, parameters.Nest] | None = None,
        gradient: str | None = None,
    ) -> FlowBijector:
        """Returns the bijector from dequantized images [H, W, C] to latents [D], which reads the current weights.

        Args:
          labels, context, network_precision, training, seed: as for `distribution`.
          derived: tensors derived from the weights, as a `DerivedCache` returns them; computed if not given.
          gradient: `reversible` or `stored` to override the config, or `none` for results that are not differentiated.
        """
        mode = Mode(
            gradient=gradient or self.config.gradient,
            network_precision=network_precision,
            training=training,
        )
        labels = checks.check_labels(self.config, labels)
        context = checks.check_context(context, self.dtype)
        # Raises here rather than at the first evaluation.
        _join_labels(labels, context)

        def make_layers(labels, context):
            nest = _join_labels(labels, context)
            return [
                layer.bijector_in(
                    _layer_mode(mode, seed, i), shape, variables.merge_nests(tensors, (derived or {}).get(i, {})), nest
                )
                for i, (layer, shape, tensors) in enumerate(self.iter_layers())
            ]

        return FlowBijector(make_layers, self._shapes, self.layers, labels, context, scope=self.runtime.scope)

    def distribution(
        self,
        labels: tf.Tensor | None = None,
        temperature: float | tf.Tensor = 1.0,
        *,
        context: Any = None,
        network_precision: str = "float32",
        training: bool = False,
        seed: int | tf.Tensor | None = None,
    ) -> FlowDistribution:
        """Returns the distribution of preprocessed images.

        The distribution can be reused: each evaluation reads the current weights and is differentiable with respect to
        them.

        Args:
          labels: int of any shape, for a label-conditional model, else None.
          temperature: factor on the standard deviation of the latents, of any shape; 1 is the model itself, and 0 has
            samples but no density.
          context: nest of tensors [B, ...], or [1, ...] for all examples, passed to every layer and network; results
            are differentiable with respect to its floats. None for no context. With labels, it must be a dictionary,
            to which they are added as `labels`.
          network_precision: precision of the coupling networks: `float32` (the flow's dtype), `tf32` or `bfloat16`.
            Everything else, including log-dets and likelihood, always has the flow's dtype, on GPUs too; see
            `glow_tf.runtime.products`.
          training: whether the flow is being trained, for networks with dropout and the like.
          seed: seed of such networks: an int, or a stateless seed of shape [2].

        Returns:
          A `tfd.TransformedDistribution` with event shape [H, W, C] and log_prob in nats. Its bijector maps latents [D]
          to images. Its batch shape is the broadcast shape of labels, context and temperature; with a context, it
          cannot be sliced. Preprocessed images lie in [-0.5, 0.5) (see `glow_tf.dequantization.Dequantizer`); samples
          may lie slightly outside, and `config.dequantizer.to_images(x)` clips them to uint8.

        Raises:
          ValueError: if labels are missing for a conditional model, given to one without any, or out of range, the
            context has no batch axis, the precision is unknown, or the temperature is negative or not finite.
        """
        bijector = self.bijector(
            labels, context=context, network_precision=network_precision, training=training, seed=seed
        )
        latent = self._latent_distribution(bijector, temperature)
        return FlowDistribution(latent, tfb.Invert(bijector), self.in_support)

    def in_support(self, x: tf.Tensor) -> tf.Tensor | None:
        """Returns whether the density of x: [..., H, W, C] can be positive, [...] bool; None if it always can."""
        return self.config.layers[0].in_domain(self._shapes[0], x) if self.config.layers else None

    def latent_distribution(
        self, labels: tf.Tensor | None = None, temperature: float | tf.Tensor = 1.0, *, context: Any = None
    ) -> tfd.Distribution:
        """Returns the distribution of latents [D]; labels and context only set its batch shape. See `distribution`."""
        return self._latent_distribution(self.bijector(labels, context=context), temperature)

    def _latent_distribution(self, bijector: FlowBijector, temperature: float | tf.Tensor) -> tfd.Distribution:
        temperature = checks.check_temperature(temperature, self.dtype)
        batch_shape = tf.broadcast_dynamic_shape(tf.shape(temperature), bijector.experimental_batch_shape_tensor())
        base = self.base(tf.zeros(batch_shape, self.dtype), temperature)
        return tfd.Sample(base, sample_shape=[self.config.dimensions])

    def base(self, location: tf.Tensor, scale: float | tf.Tensor) -> tfd.Distribution:
        """Returns the distribution of one latent dimension; the model's own has location 0 and scale 1."""
        return {"normal": tfd.Normal, "logistic": tfd.Logistic}[self.config.base](location, scale)

    def bits_per_dim(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: int | tf.Tensor | None = 0,
        *,
        context: Any = None,
    ) -> tf.Tensor:
        """Returns the bits per dimension of images, [B]; see `likelihood`."""
        return self.likelihood(images, labels, seed, context=context).bits_per_dim

    def likelihood(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: int | tf.Tensor | None = 0,
        *,
        context: Any = None,
    ) -> Likelihood:
        """Computes the likelihood of images under one draw of dequantization noise, which is the same in any batch.

        Args:
          images: [B, H, W, C] uint8 ([B, D] for a flow of flat vectors).
          labels: [B] int for a conditional model.
          seed: an int, or a stateless seed of shape [2]; None for a new one at each call.
          context: nest of tensors [B, ...] or [1, ...], as for `distribution`.

        Returns:
          A `Likelihood`, with `bits_per_dim`, its `parts` by level, `log_prob`, `discrete_log_prob` and `latents`.
        """
        x, log_q = self.dequantize(images, labels, seed, context=context)
        return likelihood(self, x, log_q, labels, context=context)

    def value_and_gradients(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: int | tf.Tensor | None = None,
        *,
        context: Any = None,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Computes the mean bits/dim of a batch and its gradients, for a custom training loop in a `tf.function`.

        This is the objective of `glow train` without a label loss, computed in the shards and the training precision of
        `runtime`.

        Args:
          images: [B, H, W, C] uint8.
          labels: [B] int for a conditional model.
          seed: seed of the noise: an int, or a stateless seed of shape [2]; None for a new one at each call.
          context: nest of tensors [B, ...] or [1, ...], as for `distribution`.

        Returns:
          A scalar, and the gradients for `trainable_variables`, in their order.
        """
        images = checks.check_images(self.config, images)
        labels = checks.check_labels(self.config, labels)
        labels = checks.check_label_count(self.config, labels, tf.shape(images)[0])
        context = self._broadcast_context(images, None, context)
        count, seed = images.shape[0] or tf.shape(images)[0], stateless_seed(seed)
        seeds = tf.random.stateless_uniform([tf.shape(images)[0], 2], seed, None, None, tf.int32)
        precision = self.runtime.network_precision

        def objective(part, number):
            images, seeds, labels, context = part
            options = {"context": context, "network_precision": precision, "training": True}
            x, log_q = self.dequantize(images, labels, seeds, **options)
            part_seed = tf.random.experimental.stateless_fold_in(seed, number)
            bits = likelihood(self, x, log_q, labels, seed=part_seed, **options).bits_per_dim
            return {"bits_per_dim": tf.reduce_sum(bits) / tf.cast(count, self.dtype)}

        if labels is not None:
            labels = tf.broadcast_to(labels, [tf.shape(images)[0]])
        shards = self.runtime.shards_of(images.shape[0] or 1)
        variables, terms = list(self.trainable_variables), ["bits_per_dim"]

        def compute(batch):
            return gradients_in_parts(objective, variables, batch, terms, parallel=shards)

        if self.runtime.xla:
            compute = tf.function(compute, jit_compile=True, autograph=False)
        gradients, values = compute((images, seeds, labels, context))
        return values["bits_per_dim"], gradients

    def dequantize(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: int | tf.Tensor | None = 0,
        *,
        context: Any = None,
        per_image: bool = True,
        network_precision: str = "float32",
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds the noise of the model's dequantizer to images.

        Args:
          images: [B, H, W, C] uint8.
          labels: [B] int for a conditional model.
          seed: an int, a stateless seed of shape [2], or [B, 2] with one for each image; None for a new one at each
            call.
          context: nest of tensors [B, ...] or [1, ...], as for `distribution`.
          per_image: whether, with a single seed, the noise of an image depends only on the seed and the image, as in
            evaluation; otherwise the noise of the whole batch is one draw.
          network_precision, training: as for `distribution`.

        Returns:
          The dequantized images [B, H, W, C], which the flow has a density over, and their log-density given the
          images, [B] in nats.
        """
        images = checks.check_images(self.config, images)
        labels = checks.check_labels(self.config, labels)
        seed = stateless_seed(seed, ([2], [images.shape[0], 2]))
        if per_image and seed.shape.rank == 1:
            seed = random.seeds_of(images, seed)
        options = {"network_precision": network_precision, "training": training}
        return self.noise(tf.cast(images, self.dtype), labels, seed, context=context, **options)

    def noise(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: int | tf.Tensor | None = 0,
        *,
        context: Any = None,
        gradient: str | None = None,
        **options: Any,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds noise as `dequantize` does, to float images; with a single seed, the noise of the batch is one draw.

        Args:
          images: [B, H, W, C], floats of the flow's dtype with values from 0 to 255.
          labels, seed, context: as for `dequantize`.
          gradient: as for `bijector`.
          **options: `network_precision` and `training`, as for `distribution`.
        """
        mode = Mode(gradient=gradient or self.config.gradient, **options)
        seed = stateless_seed(seed, ([2], [images.shape[0], 2]))
        context = self._broadcast_context(images, labels, context)
        values, may_be_empty = images, bool(self.dequantizer) and not images.shape[0]
        if may_be_empty:
            # Networks get no empty batch, here as in the layers.
            values = pad_if_empty(images)
            context = None if context is None else tf.nest.map_structure(pad_if_empty, context)
            seed = pad_if_empty(seed) if seed.shape.rank == 2 else seed
        with self.runtime.scope():
            x, log_q = self.config.dequantizer.noise_in(mode, values, self.dequantizer, seed, context)
        if may_be_empty:
            x, log_q = x[: tf.shape(images)[0]], log_q[: tf.shape(images)[0]]
        return tf.ensure_shape(x, images.shape), tf.ensure_shape(log_q, images.shape[:1])

    def _broadcast_context(self, x: tf.Tensor, labels: tf.Tensor | None, context: Any) -> Any:
        """Returns the context with labels, broadcast to the examples of `x`: [B, ...]; labels must be in range."""
        labels = checks.check_label_count(self.config, labels, tf.shape(x)[0])
        nest = _join_labels(labels, checks.check_context(context, self.dtype, tf.shape(x)[0]))

        def broadcast(leaf):
            return tf.broadcast_to(leaf, tf.concat([tf.shape(x)[:1], tf.shape(leaf)[1:]], 0))

        return None if nest is None else tf.nest.map_structure(broadcast, nest)

    def encode(self, images: tf.Tensor, labels: tf.Tensor | None = None, *, context: Any = None) -> tf.Tensor:
        """Returns the latents [B, D] of images, at the bin centres of their pixels; `decode` restores the images.

        Args:
          images: [B, H, W, C] uint8. With n_bits < 8, only their leading bits are restored.
          labels: [B] int for a conditional model.
          context: nest of tensors [B, ...] or [1, ...], as for `distribution`.
        """
        x = self.centers(images)
        return self.bijector_of(x, labels, context).forward_and_log_det(x)[0]

    def centers(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the bin centres of images [B, H, W, C] uint8, which represent them without noise."""
        images = checks.check_images(self.config, images)
        return self.config.dequantizer.center(tf.cast(images, self.dtype))

    def features(self, images: tf.Tensor, labels: tf.Tensor | None = None, *, context: Any = None) -> list[tf.Tensor]:
        """Returns the features at the end of each level, [B, h, w, c] each; the arguments are as for `encode`.

        In a Glow of images [H, W, C], level l has features [H / 2^l, W / 2^l, 2^(l + 1) C]: the input of later levels,
        and the half that is factored out there.
        """
        x = self.centers(images)
        return self.bijector_of(x, labels, context).forward_through_levels(x)[2]

    def decode(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        derived: Mapping[int, parameters.Nest] | None = None,
        context: Any = None,
    ) -> tf.Tensor:
        """Decodes latents [B, D] to images [B, H, W, C] uint8; the other arguments are as for `bijector`.

        The values are those of the official code: with n_bits < 8 the lowest of each bin, and 255 above the brightest
        one. For display, `config.dequantizer.displayed(images)` spreads the levels over 0 to 255.

        Raises:
          ValueError: if `z` has the wrong number of dimensions; in eager mode, if an image is not finite, as for
            latents that are non-finite or far too large.
        """
        images, finite = self.decode_and_check(z, labels, derived=derived, context=context)
        if tf.executing_eagerly():
            checks.check_finite(self.config, finite)
        return images

    def decode_and_check(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        derived: Mapping[int, parameters.Nest] | None = None,
        context: Any = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes as `decode` does, and also returns whether each image is finite, [B] bool; NaN pixels are black."""
        z = checks.check_latents(self.config, tf.cast(z, self.dtype))
        bijector = self.bijector_of(z, labels, context, derived=derived, gradient="none")
        x, _ = bijector.inverse_and_log_det(z)
        finite = tf.reduce_all(tf.math.is_finite(x), axis=list(range(1, x.shape.rank)))
        return self.config.dequantizer.to_images(x), finite

    def sample(
        self,
        n: int,
        temperature: float | tf.Tensor = 1.0,
        labels: tf.Tensor | None = None,
        seed: int | tf.Tensor | None = None,
        *,
        context: Any = None,
    ) -> tf.Tensor:
        """Draws images, [n, H, W, C] uint8, with the values that `decode` gives.

        Args:
          n: number of images.
          temperature: factor on the latents' standard deviation, scalar or [n]; the paper's figures use 0.7.
          labels: int scalar or [n], for a conditional model; by default, cycles through the classes.
          seed: an int, or a stateless seed of shape [2], which makes the images reproducible; by default they differ
            between calls, as determined by `tf.random.set_seed` and `keras.utils.set_random_seed`.
          context: nest of tensors [n, ...] or [1, ...], as for `distribution`.
        """
        if labels is None and self.config.conditional:
            labels = cycle_labels(n, self.config.num_classes)
        return self.decode(self.sample_latents(n, temperature, labels, seed), labels, context=context)

    def sample_latents(
        self,
        n: int,
        temperature: float | tf.Tensor = 1.0,
        labels: tf.Tensor | None = None,
        seed: int | tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Draws latents, [n, D]; the arguments are as for `sample`, but a conditional model needs labels."""
        temperature = checks.check_temperature(temperature, self.dtype, n)
        latents = self.latent_distribution(checks.check_label_count(self.config, labels, n), temperature)
        return latents.sample([] if latents.batch_shape.rank else n, seed=stateless_seed(seed))

    def class_logits(self, z: tf.Tensor, labels: tf.Tensor | None = None, *, context: Any = None) -> tf.Tensor:
        """Returns the classifier's logits [B, num_classes], from latents `z`: [B, D] encoded with the same arguments.

        The classifier reads the spatial mean of the top variables before the prior whitens them, so that the prior's
        labels do not leak into the result (the official code's predictive loss).

        Raises:
          ValueError: if the model has no classifier, or there is another number of labels.
        """
        if not self.classifier:
            raise ValueError("This model has no classifier: build it with classifier=True.")
        shape, z = self._shapes[-1], checks.check_latents(self.config, tf.cast(z, self.dtype))
        top = tf.reshape(z[..., -int(np.prod(shape)) :], [-1, *shape])
        last, shape, tensors = list(self.iter_layers())[-1]
        with self.runtime.scope():
            # A layer that factors out channels whitens these alone.
            if last.is_prior and leaving_shape(shape, self._shapes[-1]) is None:
                context = self._broadcast_context(z, checks.check_labels(self.config, labels), context)
                top, _ = last.bijector_in(Mode(), shape, tensors, context).inverse_and_log_det(top)
            mean = tf.reduce_mean(top, axis=list(range(1, top.shape.rank - 1)))
            return zero_layer.scale(self.classifier, products.matmul(mean, self.classifier["kernel"]))

    def bijector_of(
        self, x: tf.Tensor, labels: tf.Tensor | None = None, context: Any = None, **options: Any
    ) -> FlowBijector:
        """Returns the bijector for the examples of `x`: [B, ...]; the other arguments are as for `bijector`.

        Raises:
          ValueError: if labels or context have another number of examples.
        """
        labels = checks.check_label_count(self.config, labels, tf.shape(x)[0])
        return self.bijector(labels, context=checks.check_context(context, self.dtype, tf.shape(x)[0]), **options)

    def initialize(self, images: tf.Tensor, labels: tf.Tensor | None = None, *, context: Any = None) -> None:
        """Runs the data-dependent initialisation: sets every actnorm, in flow and networks, to normalise this batch.

        Likewise, the final scaling of NICE is set so that the latents of this batch have a second moment of 1.

        Args:
          images: [B, H, W, C] uint8; a few dozen suffice.
          labels: [B] int, for a conditional model whose coupling networks see them; nothing else depends on them.
          context: nest of tensors [B, ...], as for `distribution`.

        Raises:
          ValueError: if there are no images, or the coupling networks see labels and none are given.
        """
        images = checks.check_images(self.config, images)
        if not images.shape[0]:
            raise ValueError("The data-dependent initialisation needs at least one example.")
        if labels is not None or self.config.dequantizer.num_classes_needed():
            checks.check_labels(self.config, labels)
        values, nest = tf.cast(images, self.dtype), self._initialisation_context(images, labels, context)
        dequantizer, seed = self.config.dequantizer, stateless_seed(self._seed)
        with self.runtime.scope():
            found, (x, _) = dequantizer.initialize(values, self.dequantizer, seed, nest)
        _assign(self.dequantizer, found)
        self.initialize_from(x, labels, context=context)

    def initialize_from(self, x: tf.Tensor, labels: tf.Tensor | None = None, *, context: Any = None) -> None:
        """Initialises as `initialize` does, from dequantized images [B, H, W, C]; leaves the dequantizer unchanged.

        Raises:
          ValueError: in eager mode, if a value is not finite.
        """
        if tf.executing_eagerly() and not bool(tf.reduce_all(tf.math.is_finite(x))):
            raise ValueError("The data-dependent initialisation needs finite numbers; some of these are not.")
        nest = self._initialisation_context(x, labels, context)
        for layer, shape, tensors in self.iter_layers():
            # A user-defined layer may have no context argument.
            takes_context = "context" in inspect.signature(layer.initialize).parameters
            with self.runtime.scope():
                values, x = layer.initialize(shape, tensors, x, **({"context": nest} if takes_context else {}))
            _assign(tensors, values)
        self.initialized.assign(True)

    def _initialisation_context(self, x: tf.Tensor, labels: tf.Tensor | None, context: Any) -> Any:
        """Returns the context, in which labels may be missing, as initialised values need not depend on them."""
        if labels is not None and self.config.conditional:
            labels = checks.check_labels(self.config, labels)
        return self._broadcast_context(x, labels if self.config.conditional else None, context)

    def iter_layers(self) -> Iterator[tuple[Layer, tuple[int, ...], dict]]:
        """Yields each layer's description, input shape and nest of parameters, from the image to the latents."""
        for i, (layer, shape) in enumerate(zip(self.config.layers, self._shapes[:-1], strict=True)):
            yield layer, shape, self.layers.get(variables.layer_name(i, layer), {})


def _layer_mode(mode: Mode, seed: int | tf.Tensor | None, index: int) -> Mode:
    """Returns the mode of a layer, with a seed of its own."""
    if seed is None:
        return mode
    return dataclasses.replace(mode, seed=tf.random.experimental.stateless_fold_in(stateless_seed(seed), index))


def _join_labels(labels: tf.Tensor | None, context: Any) -> Any:
    """Adds labels to the context that layers and networks are conditioned on.

    Raises:
      ValueError: if there are labels, and a context that is not a dictionary.
    """
    if labels is None:
        return context
    if not isinstance(context, Mapping | None):
        raise ValueError("The context of a label-conditional model must be a dictionary, which labels join.")
    return {**(context or {}), "labels": tf.reshape(labels, [-1])}


def _assign(tensors: parameters.Nest, values: parameters.Nest) -> None:
    """Assigns values to the variables at the same paths."""
    variable_of = dict(parameters.flatten_nest(tensors))
    for path, value in parameters.flatten_nest(values):
        variable_of[path].assign(value)
