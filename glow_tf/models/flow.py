"""The model: variables, and the distribution they define."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import bijectors
from glow_tf.config import Layer, Logit, ModelConfig, Split, TopPrior
from glow_tf.models import checks, layers, quantization, variables
from glow_tf.models.distribution import FlowBijector, FlowDistribution
from glow_tf.models.seeds import stateless_seed
from glow_tf.networks import parameters as network_parameters
from glow_tf.runtime import devices, products

tfb = tfp.bijectors
tfd = tfp.distributions


class Flow(tf.Module):
    """A normalizing flow over images with exact likelihood, exact latents and sampling.

    The K steps of a stack share variables with a leading axis of size K. `initialize` must see one batch of images
    before training: it sets every actnorm from it.

    Args:
      config: what `glow_tf.glow`, `real_nvp` or `nice` return.
      seed: of the initial weights.
      dtype: of all variables and computations, tf.float32 or tf.float64.
      xla: whether XLA compiles what is computed of many images (`Scorer`, `Codec`, `Sampler`, evaluations): by default
        where there is a GPU.

    Attributes:
      config: the `ModelConfig`.
      xla: as above, True or False.
      initialized: a bool variable, true once the data-dependent initialisation or a checkpoint has set the weights.
    """

    def __init__(
        self,
        config: ModelConfig,
        seed: int = 0,
        *,
        dtype: tf.DType = tf.float32,
        xla: bool | None = None,
        name: str = "flow",
    ):
        super().__init__(name=name)
        self.config = config
        self.xla = devices.has_gpu() if xla is None else xla
        self.dtype = tf.as_dtype(dtype)
        self._seed = int(seed)
        self._shapes = config.shapes()
        rng = np.random.default_rng(self._seed)
        self.layers = {}
        for i, (layer, shape) in enumerate(zip(config.layers, self._shapes[:-1], strict=True)):
            arrays = layers.initial_parameters(layer, shape, config.num_classes, rng)
            if arrays:
                key = layers.layer_name(i, layer)
                self.layers[key] = variables.create(arrays, f"layers/{key}", self.dtype)
        self.classifier = {}
        if config.classifier:
            inputs, outputs = self._shapes[-1][-1], config.num_classes
            arrays = {"kernel": np.zeros([inputs, outputs]), "bias": np.zeros([outputs]), "logs": np.zeros([outputs])}
            self.classifier = variables.create(arrays, "classifier", self.dtype)
        self.initialized = tf.Variable(False, trainable=False, name="initialized")

    def named_variables(self, *, trainable: bool = False) -> dict[str, tf.Variable]:
        """Every variable, or every trainable one, by its path, such as `layers/01_steps/network/conv1/kernel`."""
        found = {**variables.by_path(self.layers, "layers"), **variables.by_path(self.classifier, "classifier")}
        return {path: v for path, v in found.items() if v.trainable or not trainable}

    def bijector(
        self,
        labels: tf.Tensor | None = None,
        *,
        network_precision: str = "float32",
        inverses: Mapping[int, tf.Tensor] | None = None,
        gradient: str | None = None,
    ) -> FlowBijector:
        """The bijector from preprocessed images [H, W, C] to latents [D], by the weights as they are when it is used.

        Args:
          labels, network_precision: as for `distribution`.
          inverses: those of the 1x1 convolutions, as an `InverseCache` has them; computed where they are not given.
          gradient: `reversible` or `stored` in place of the config's, or `none` for results nobody differentiates.
        """
        options = {"gradient": gradient or self.config.gradient, "network_precision": network_precision}

        def make_layers(labels):
            return [
                layers.bijector(layer, shape, nest, labels=labels, inverse_weight=(inverses or {}).get(i), **options)
                for i, (layer, shape, nest) in enumerate(self.iter_layers())
            ]

        return FlowBijector(make_layers, self._shapes, self.layers, checks.check_labels(self.config, labels))

    def distribution(
        self,
        labels: tf.Tensor | None = None,
        temperature: float | tf.Tensor = 1.0,
        *,
        network_precision: str = "float32",
    ) -> FlowDistribution:
        """The distribution of preprocessed images.

        It may be kept: what it computes, it computes with the weights as they are then, and differentiably in them.

        Args:
          labels: int of any shape, for a label-conditional model, else None.
          temperature: the factor on the standard deviation of the latents, of any shape; 1 is the model itself.
          network_precision: of the coupling networks: `float32` (the flow's dtype), `tf32` or `bfloat16`. All else,
            log-dets and likelihood among it, always has the flow's dtype, on GPUs too; see `glow_tf.runtime.products`.

        Returns:
          A `tfd.TransformedDistribution` with event shape [H, W, C], values in [-0.5, 0.5) (see
          `glow_tf.models.quantization`) and log_prob in nats. Its bijector maps latents [D] to images. Its batch shape
          is that of labels and temperature, broadcast.

        Raises:
          ValueError: if labels are missing for a conditional model, given to one without any, or out of range, or the
            temperature is negative.
        """
        latent = self.latent_distribution(labels, temperature)
        bijector = self.bijector(labels, network_precision=network_precision)
        first, shape, _ = next(self.iter_layers())
        support = bijectors.Logit(first.alpha, event_ndims=len(shape)).in_domain if isinstance(first, Logit) else None
        return FlowDistribution(latent, tfb.Invert(bijector), support)

    def latent_distribution(
        self, labels: tf.Tensor | None = None, temperature: float | tf.Tensor = 1.0
    ) -> tfd.Distribution:
        """The distribution of latents [D], on which labels have no effect but the batch shape; see `distribution`."""
        temperature = checks.check_temperature(temperature, self.dtype)
        batch_shape = tf.shape(temperature)
        if labels is not None and self.config.conditional:
            batch_shape = tf.broadcast_dynamic_shape(batch_shape, tf.shape(labels))
        base = self.base(tf.zeros(batch_shape, self.dtype), temperature)
        return tfd.Sample(base, sample_shape=[self.config.dimensions])

    def log_prob_parts(self, x: tf.Tensor, labels: tf.Tensor | None = None) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """What `distribution(labels).log_prob(x)` is the sum of, and the latents.

        Args:
          x: [B, H, W, C], preprocessed.
          labels: [B] int for a conditional model.

        Returns:
          For each level from 1, the finest, `log_det/level_1`: the log-det of its steps, and `prior/level_1`: the
          log-density of what leaves the flow there under its prior, learned or not; [B] each, in nats. And the
          latents, [B, D].
        """
        bijector = self.bijector(checks.check_label_count(self.config, labels, tf.shape(x)[0]))
        z, log_dets = bijector.forward_and_log_dets(x)
        sizes = [math.prod(shape) for shape in self.config.latent_shapes]
        latents = [self.base(tf.zeros([], x.dtype), 1.0).log_prob(part) for part in tf.split(z, sizes, axis=-1)]
        levels = range(1, len(sizes) + 1)
        parts = {f"log_det/level_{level}": tf.zeros(tf.shape(x)[:1], x.dtype) for level in levels}
        for level, latent in zip(levels, latents, strict=True):
            parts[f"prior/level_{level}"] = tf.reduce_sum(latent, axis=-1)
        level = 1
        for layer, log_det in zip(self.config.layers, log_dets, strict=True):
            # Splits and the top prior whiten: their log-det is that of a prior.
            kind = "prior" if isinstance(layer, Split | TopPrior) else "log_det"
            parts[f"{kind}/level_{level}"] += log_det
            level += isinstance(layer, Split)
        return parts, z

    def base(self, location: tf.Tensor, scale: float | tf.Tensor) -> tfd.Distribution:
        """The distribution of one dimension of a latent; of the model's own with location 0 and scale 1."""
        return {"normal": tfd.Normal, "logistic": tfd.Logistic}[self.config.base](location, scale)

    def bits_per_dim(
        self, images: tf.Tensor, labels: tf.Tensor | None = None, seed: int | tf.Tensor | None = 0
    ) -> tf.Tensor:
        """Bits per dimension of images, under one draw of the dequantization noise, the same whatever the batch.

        Args:
          images: [B, H, W, C] uint8 ([B, D] for a flow of flat vectors).
          labels: [B] int for a conditional model.
          seed: an int, or a stateless seed of shape [2]; None for another one at each call.

        Returns:
          [B].
        """
        images = checks.check_images(self.config, images)
        labels = checks.check_label_count(self.config, labels, tf.shape(images)[0])
        x = quantization.dequantize_each(images, self.config.n_bits, stateless_seed(seed), self.dtype)
        return self.bits_per_dim_of(self.distribution(labels).log_prob(x))

    def bits_per_dim_of(self, log_prob: tf.Tensor) -> tf.Tensor:
        """Bits per dimension of the discrete images whose dequantized densities are `log_prob`, in nats."""
        return quantization.bits_per_dim(log_prob, self.config.dimensions, self.config.n_bits)

    def encode(self, images: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """The latents [B, D] of the centres of the pixels' bins; `decode` gives the images back.

        Args:
          images: [B, H, W, C] uint8. With n_bits < 8, what comes back are their leading bits.
          labels: [B] int for a conditional model.
        """
        x = quantization.bin_centers(checks.check_images(self.config, images), self.config.n_bits, self.dtype)
        return self.bijector(checks.check_label_count(self.config, labels, tf.shape(x)[0])).forward_and_log_det(x)[0]

    def features(self, images: tf.Tensor, labels: tf.Tensor | None = None) -> list[tf.Tensor]:
        """What the image has become at the end of each level, [B, h, w, c]; the arguments as for `encode`.

        Level l of L, of an image [H, W, C], has the shape [H / 2^l, W / 2^l, 2^(l + 1) C]: all that the levels after it
        see, and the half that leaves there.
        """
        x = quantization.bin_centers(checks.check_images(self.config, images), self.config.n_bits, self.dtype)
        return self.bijector(checks.check_label_count(self.config, labels, tf.shape(x)[0])).forward_through_levels(x)[2]

    def decode(
        self, z: tf.Tensor, labels: tf.Tensor | None = None, inverses: Mapping[int, tf.Tensor] | None = None
    ) -> tf.Tensor:
        """The images [B, H, W, C], uint8, of latents [B, D]; `inverses` as for `bijector`.

        Raises:
          ValueError: if `z` has another number of dimensions; called eagerly, if an image is not finite, as with
            latents that are not, or are far too large.
        """
        images, finite = self.decode_and_check(z, labels, inverses)
        if tf.executing_eagerly():
            checks.check_finite(finite)
        return images

    def decode_and_check(
        self, z: tf.Tensor, labels: tf.Tensor | None = None, inverses: Mapping[int, tf.Tensor] | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `decode`, and whether each image is finite, [B] bool: a pixel that is not comes out black."""
        z = checks.check_latents(self.config, tf.cast(z, self.dtype))
        labels = checks.check_label_count(self.config, labels, tf.shape(z)[0])
        x, _ = self.bijector(labels, inverses=inverses, gradient="none").inverse_and_log_det(z)
        finite = tf.reduce_all(tf.math.is_finite(x), axis=list(range(1, x.shape.rank)))
        return quantization.to_images(x, self.config.n_bits), finite

    def sample(
        self,
        n: int,
        temperature: float | tf.Tensor = 1.0,
        labels: tf.Tensor | None = None,
        seed: int | tf.Tensor | None = 0,
    ) -> tf.Tensor:
        """Draws images, [n, H, W, C] uint8.

        Args:
          n: how many.
          temperature: the factor on the latents' standard deviation, one for all or [n]; the paper's figures use 0.7.
          labels: int scalar or [n], for a conditional model; by default the classes in turn.
          seed: an int, or a stateless seed of shape [2]; None for another one at each call.
        """
        if labels is None and self.config.conditional:
            labels = tf.range(n) % self.config.num_classes
        return self.decode(self.sample_latents(n, temperature, labels, seed), labels)

    def sample_latents(
        self, n: int, temperature: float | tf.Tensor, labels: tf.Tensor | None, seed: int | tf.Tensor | None
    ) -> tf.Tensor:
        """Draws latents, [n, D]; the arguments as for `sample`."""
        temperature = checks.check_temperature(temperature, self.dtype, n)
        latents = self.latent_distribution(checks.check_label_count(self.config, labels, n), temperature)
        return latents.sample([] if latents.batch_shape.rank else n, seed=stateless_seed(seed))

    def class_logits(self, z: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """The classifier's logits [B, num_classes], from latents `z`: [B, D] encoded with the same `labels`.

        It reads the spatial mean of the top variables before the prior whitens them, so that the labels given do not
        show in the result (the official code's predictive loss).

        Raises:
          ValueError: if the model has no classifier.
        """
        if not self.classifier:
            raise ValueError("This model has no classifier: build it with classifier=True.")
        shape = self._shapes[-1]
        top = tf.reshape(z[..., -int(np.prod(shape)) :], [-1, *shape])
        last, shape, parameters = list(self.iter_layers())[-1]
        if isinstance(last, TopPrior):
            labels = checks.check_labels(self.config, labels)
            labels = labels if labels is None else tf.reshape(labels, [-1])
            prior = layers.bijector(last, shape, parameters, labels=labels)
            top, _ = prior.inverse_and_log_det(top)
        tensors = network_parameters.scaled(self.classifier)
        mean = tf.reduce_mean(top, axis=list(range(1, top.shape.rank - 1)))
        return network_parameters.actnorm(tensors, products.matmul(mean, tensors["kernel"]))

    def initialize(self, images: tf.Tensor, labels: tf.Tensor | None = None) -> None:
        """Data-dependent initialisation: every actnorm, in flow and networks, is set so as to normalise this batch.

        The final scaling of NICE, likewise, is set so that the latents of this batch have a second moment of 1.

        Args:
          images: [B, H, W, C] uint8; a few dozen suffice.
          labels: [B] int, checked; no initial value depends on them.
        """
        images = checks.check_images(self.config, images)
        if not images.shape[0]:
            raise ValueError("The data-dependent initialisation needs at least one image.")
        if labels is not None:
            checks.check_labels(self.config, labels)
        seed = stateless_seed(self._seed)
        self.initialize_from(quantization.dequantize(images, self.config.n_bits, seed, self.dtype))

    def initialize_from(self, x: tf.Tensor) -> None:
        """`initialize` with preprocessed images [B, H, W, C] in place of uint8."""
        for layer, shape, parameters in self.iter_layers():
            if isinstance(layer, TopPrior):
                continue
            values, x = layers.initialized(layer, shape, parameters, x)
            variable_of = variables.by_path(parameters, "")
            for path, value in variables.by_path(values, "").items():
                variable_of[path].assign(value)
        self.initialized.assign(True)

    def iter_layers(self) -> Iterator[tuple[Layer, tuple[int, ...], dict]]:
        """Each layer's description, input shape and nest of parameters, from the image to the latents."""
        for i, (layer, shape) in enumerate(zip(self.config.layers, self._shapes[:-1], strict=True)):
            yield layer, shape, self.layers.get(layers.layer_name(i, layer), {})
