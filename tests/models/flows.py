"""Small flows with random weights, and random images, for the model tests."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from glow_tf import Flow, ModelConfig, flow_plus_plus, glow, glow_1d, jet, nice, real_nvp
from glow_tf.transforms import MixtureLogistic, RationalQuadraticSpline


def randomise(flow: Flow, seed: int = 0, scale: float = 0.05) -> Flow:
    """Perturbs every trainable variable, so that nothing is zero and every layer has an effect.

    Actnorms are initialised from data in between, as in training: a stack with random scales would be so badly
    conditioned that rounding errors become large.
    """
    rng = np.random.default_rng(seed)

    def move(distance: float) -> None:
        for variable in flow.trainable_variables:
            variable.assign_add(tf.cast(distance * rng.standard_normal(variable.shape), variable.dtype))

    move(scale)
    inputs = tf.cast(random_inputs(flow.config, 8, seed + 1), flow.dtype)
    flow.initialize_from(inputs, random_labels(flow.config, 8))
    move(scale / 2)
    return flow


def random_flow(config: ModelConfig, dtype: tf.DType = tf.float64, seed: int = 0) -> Flow:
    flow = Flow(config, seed=seed, dtype=dtype)
    for variable, value in zip(flow.variables, _random_values(config, dtype, seed), strict=True):
        variable.assign(value)
    return flow


@functools.cache
def _random_values(config: ModelConfig, dtype: tf.DType, seed: int) -> list[np.ndarray]:
    # Cached, as many tests use the same flow, whose initialisation has to be traced.
    return [v.numpy() for v in randomise(Flow(config, seed=seed, dtype=dtype), seed).variables]


def moved_flow(config: ModelConfig, seed: int = 0) -> Flow:
    """A float32 flow that is not initialised from data, with all trainable variables perturbed."""
    flow = Flow(config, seed)
    rng = np.random.default_rng(seed)
    for variable in flow.named_variables(trainable=True).values():
        variable.assign_add(rng.normal(0, 0.05, variable.shape).astype(np.float32))
    return flow


def random_images(config: ModelConfig, n: int = 3, seed: int = 0) -> tf.Tensor:
    images = np.random.default_rng(seed).integers(0, 256, [n, *config.image_shape])
    return tf.constant(images, tf.uint8)


def random_labels(config: ModelConfig, n: int = 3) -> tf.Tensor | None:
    return tf.range(n) % config.num_classes if config.conditional else None


def random_inputs(config: ModelConfig, n: int = 3, seed: int = 0) -> tf.Tensor:
    """Random preprocessed images, float64."""
    return tf.constant(np.random.default_rng(seed).uniform(-0.5, 0.5, [n, *config.image_shape]))


def with_gradient(config: ModelConfig, gradient: str) -> ModelConfig:
    return dataclasses.replace(config, gradient=gradient)


def without_top_steps(config: ModelConfig) -> ModelConfig:
    """Removes the steps of the last level of a multi-level Glow, as steps take most of the time to trace a model."""
    *layers, _, top_prior = config.layers
    return dataclasses.replace(config, layers=(*layers, top_prior))


GLOW = {
    f"glow-{permutation}-{coupling}": glow((8, 4, 1), K=2, L=2, width=4, permutation=permutation, coupling=coupling)
    for permutation in ("conv1x1", "conv1x1_dense", "shuffle", "reverse")
    for coupling in ("affine", "additive")
}

CONFIGS = {
    **GLOW,
    "glow-mixture_logistic": glow((4, 4, 1), K=2, L=2, width=4, coupling=MixtureLogistic(components=3)),
    "glow-spline": glow((4, 4, 1), K=2, L=2, width=4, coupling=RationalQuadraticSpline(bins=4)),
    "glow-colour": glow((4, 8, 3), K=2, L=2, width=4),
    "glow-one-level": glow((2, 4, 3), K=3, L=1, width=4),
    "glow-three-levels": glow((8, 8, 1), K=1, L=3, width=4),
    "glow-no-top-prior": glow((4, 4, 1), K=2, L=2, width=4, learn_top=False),
    "glow-labels": glow((4, 4, 1), K=2, L=1, width=4, num_classes=3),
    "glow-labels-only": glow((4, 4, 3), K=1, L=2, width=4, num_classes=2, learn_top=False),
    "glow_1d": glow_1d((8, 2), K=2, L=2, width=4, dequantizer="uniform"),
    "real_nvp": real_nvp((8, 8, 1), width=4, blocks=1),
    "real_nvp-colour": real_nvp((4, 8, 3), L=1, width=4, blocks=2),
    "real_nvp-two-levels": real_nvp((8, 4, 1), L=2, width=3, blocks=1),
    "nice": nice((4, 4, 1), width=8, blocks=2),
    "nice-colour-odd": nice((3, 5, 3), K=3, width=8, blocks=1),
    "flow_plus_plus": flow_plus_plus((2, 4, 3), ((0, 2), (1, 1)), width=4, blocks=1, heads=2, dequantizer="uniform"),
    "flow_plus_plus-labels": flow_plus_plus(
        (2, 4, 3), ((0, 3),), width=4, blocks=2, num_classes=3, conditional_couplings=True
    ),
    "flow_plus_plus-imagenet": flow_plus_plus(
        (2, 4, 3),
        ((0, 1),),
        width=4,
        blocks=1,
        heads=2,
        permutation="none",
        variant="imagenet32",
        dequantizer="uniform",
    ),
    "jet": jet((8, 4, 1), K=5, width=4, blocks=1, heads=2, patch_size=2, dropout=0.1),
    "jet-labels": jet((4, 4, 3), K=6, width=6, blocks=2, patch_size=2, num_classes=3, conditional_couplings=True),
    "nice-flat": nice((7,), K=4, width=8, blocks=2, base="normal"),
}
