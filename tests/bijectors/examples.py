"""Bijectors built from dictionaries of parameters, for the registry and for tests of single bijectors."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from glow_tf import bijectors
from glow_tf.bijectors import invertible_conv

Parameters = Mapping[str, tf.Tensor]
Function = Callable[[tf.Tensor], tf.Tensor]


def unwatched(network: Function) -> Function:
    return network


def network_shapes(event: tuple[int, ...], inputs: int, outputs: int, *, hidden: int = 3):
    """Parameter shapes of `network`: dense layers over the whole event, so that every position sees every other."""
    positions = int(np.prod(event[:-1]))
    return {"w1": (positions * inputs, hidden), "w2": (hidden, positions * outputs), "b2": (positions * outputs,)}


def network(p: Parameters, event: tuple[int, ...], outputs: int) -> Function:
    """A network with bounded output that is independent of the library."""

    def apply(x: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(x, [-1, p["w1"].shape[0]])
        h = tf.tanh(flat @ p["w1"]) @ p["w2"] + p["b2"]
        return tf.reshape(h, [-1, *event[:-1], outputs])

    return apply


def plu_conv(p: Parameters, watch=unwatched) -> bijectors.InvertibleConv1x1:
    permutation, sign = tf.constant([2, 0, 3, 1]), tf.constant([1.0, -1.0, -1.0, 1.0], tf.float64)
    return bijectors.InvertibleConv1x1.from_plu(permutation, sign, p["lower"], p["upper"], p["log_diagonal"])


STEP_EVENT = (2, 2, 4)
STEP_SHAPES = {"weight": (4, 4), "bias": (4,), "log_scale": (4,), **network_shapes(STEP_EVENT, 2, 4)}


def flow_step(p: Parameters, watch=unwatched, inverse_weight=None, log_abs_det=None, swap=0) -> bijectors.FlowStep:
    if inverse_weight is None:
        _, inverse_weight, log_abs_det = invertible_conv.dense_matrices(p["weight"])
    return bijectors.FlowStep(
        [
            bijectors.ActNorm(p["bias"], p["log_scale"]),
            bijectors.InvertibleConv1x1(p["weight"], inverse_weight, log_abs_det),
            bijectors.Permutation([1, 3, 0, 2]),
            bijectors.Coupling(watch(network(p, STEP_EVENT, 4)), swap=swap),
        ]
    )


DEPTH = 3


def stack(p: Parameters, watch=unwatched, gradient: str = "reversible") -> bijectors.Stack:
    _, inverse_weight, log_abs_det = invertible_conv.dense_matrices(p["weight"])
    return bijectors.Stack(
        lambda tensors, constants: flow_step(
            tensors, watch, constants["inverse_weight"], tensors["log_abs_det"], constants["swap"]
        ),
        {**p, "log_abs_det": log_abs_det},
        {"inverse_weight": inverse_weight, "swap": tf.range(DEPTH) % 2},
        depth=DEPTH,
        gradient=gradient,
    )


def multi_scale(p: Parameters, watch=unwatched) -> bijectors.MultiScale:
    prior = bijectors.Split(watch(network(p, (2, 2, 4), 4)))
    return bijectors.MultiScale(
        [
            bijectors.ActNorm(p["bias"], p["log_scale"]),
            bijectors.Squeeze(),
            prior,
            bijectors.Squeeze(),
            bijectors.Split(None),
            bijectors.DiagonalPrior(p["mean"], p["log_stddev"]),
        ],
        [(4, 4, 1), (4, 4, 1), (2, 2, 4), (2, 2, 2), (1, 1, 8), (1, 1, 4), (1, 1, 4)],
    )


def multi_scale_of_stack(p: Parameters, watch=unwatched) -> bijectors.MultiScale:
    return bijectors.MultiScale(
        [bijectors.Squeeze(), stack(p, watch), bijectors.Split(None)], [(4, 4, 1), (2, 2, 4), (2, 2, 4), (2, 2, 2)]
    )
