"""Every public bijector and its variants, with small shapes and random parameters, for the conformance tests."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import bijectors, partitions, transforms
from glow_tf.bijectors import invertible_conv
from tests.bijectors.examples import (
    DEPTH,
    STEP_EVENT,
    STEP_SHAPES,
    flow_step,
    multi_scale,
    multi_scale_of_stack,
    network,
    network_shapes,
    plu_conv,
    stack,
    unwatched,
)

tfb = tfp.bijectors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A bijector to test.

    Attributes:
      name: name of the case.
      covers: the public class.
      build: makes the bijector from the parameters and, optionally, a function that wraps every network.
      shapes: shapes of the parameters, keyed by name.
      event: event shape of x.
      latent: event shape of y; by default that of x.
      derived: parameters that only enter through values computed before construction, so that `inverse_and_vjp` cannot
        compute their gradients.
      labels: size of the batch axis of labels; 0 without labels.
      network_calls: number of network evaluations in an eager log_prob.
      bounded: whether x lies in [-1/2, 1/2].
      scales: factors on the inputs for which outputs must stay finite and invertible.
      slow: whether its checks run with the slow tests, as other cases cover its parts.
    """

    name: str
    covers: type
    build: Callable[..., bijectors.Bijector]
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    event: tuple[int, ...]
    latent: tuple[int, ...] | None = None
    derived: tuple[str, ...] = ()
    labels: int = 0
    network_calls: int = 0
    bounded: bool = False
    scales: tuple[float, ...] = (1e3, 1e-8)
    slow: bool = False

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(self.name.encode()))

    def parameters(self) -> dict[str, tf.Tensor]:
        """Random parameters; matrices named `weight` are near a rotation, so that none is close to singular."""
        rng = self.rng
        values = {}
        for name, shape in self.shapes.items():
            value = 0.4 * rng.standard_normal(shape)
            if name == "weight":
                rotations = invertible_conv.random_rotations(rng, int(np.prod(shape[:-2])), shape[-1])
                value = 0.3 * value + np.reshape(rotations, shape)
            values[name] = tf.constant(value)
        return values

    def points(self, batch: tuple[int, ...] = (4,)) -> tuple[tf.Tensor, tf.Tensor]:
        """Points x, [*batch, *event], and y, [*batch, *latent]; with labels, the batch shape is [labels]."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()) + 1)
        if self.labels:
            batch = (self.labels,)
        shape = (*batch, *self.event)
        x = rng.uniform(-0.5, 0.5, shape) if self.bounded else rng.standard_normal(shape)
        y = rng.standard_normal((*batch, *(self.latent or self.event)))
        return tf.constant(x), tf.constant(y)


def coupling_cases() -> list[Case]:
    cases = []
    for i, (coupling, transform) in enumerate(transforms.NAMED.items()):
        for mask, partition in partitions.NAMED.items():
            for swap in (0, 1):
                for event in ((2, 3, 4), (6,)):
                    inputs = event[-1] if mask == "checkerboard" else event[-1] // 2
                    outputs = inputs * transform.parameters_per_dim

                    def build(p, watch=unwatched, *, event=event, outputs=outputs, **options):
                        return bijectors.Coupling(watch(network(p, event, outputs)), event_ndims=len(event), **options)

                    options = {"transform": transform, "partition": partition, "swap": swap}
                    # The cases that are not slow cover every pair of options, or every single option for transforms
                    # with large graphs.
                    quick = (i + (mask == "checkerboard") + swap + (len(event) == 1)) % 2 == 0
                    if transform.parameters_per_dim > 2:
                        quick = (mask, swap, len(event)) in (("channel", 0, 3), ("checkerboard", 1, 1))
                    cases.append(
                        Case(
                            name=f"Coupling-{coupling}-{mask}-swap{swap}-{len(event)}d",
                            covers=bijectors.Coupling,
                            build=lambda p, watch=unwatched, build=build, options=options: build(p, watch, **options),
                            shapes=network_shapes(event, inputs, outputs),
                            event=event,
                            network_calls=1,
                            slow=not quick,
                        )
                    )
    return cases


CASES = [
    Case(
        name="ActNorm-3d",
        covers=bijectors.ActNorm,
        build=lambda p, watch=unwatched: bijectors.ActNorm(p["bias"], p["log_scale"]),
        shapes={"bias": (3,), "log_scale": (3,)},
        event=(3, 2, 3),
    ),
    Case(
        name="ActNorm-1d",
        covers=bijectors.ActNorm,
        build=lambda p, watch=unwatched: bijectors.ActNorm(p["bias"], p["log_scale"], event_ndims=1),
        shapes={"bias": (5,), "log_scale": (5,)},
        event=(5,),
    ),
    Case(
        name="ActNorm-2d",
        covers=bijectors.ActNorm,
        build=lambda p, watch=unwatched: bijectors.ActNorm(p["bias"], p["log_scale"], event_ndims=2),
        shapes={"bias": (3,), "log_scale": (3,)},
        event=(4, 3),
    ),
    *coupling_cases(),
    Case(
        name="Coupling-checkerboard-2d",
        covers=bijectors.Coupling,
        build=lambda p, watch=unwatched: bijectors.Coupling(
            watch(network(p, (5, 2), 4)), partition=partitions.Checkerboard(), event_ndims=2
        ),
        shapes=network_shapes((5, 2), 2, 4),
        event=(5, 2),
        network_calls=1,
    ),
    Case(
        name="Coupling-swap-tensor",
        covers=bijectors.Coupling,
        build=lambda p, watch=unwatched: bijectors.Coupling(watch(network(p, (2, 2, 4), 4)), swap=tf.constant(1)),
        shapes=network_shapes((2, 2, 4), 2, 4),
        event=(2, 2, 4),
        network_calls=1,
    ),
    Case(
        name="Coupling-checkerboard-swap-tensor",
        covers=bijectors.Coupling,
        build=lambda p, watch=unwatched: bijectors.Coupling(
            watch(network(p, (3, 3, 1), 2)), partition=partitions.Checkerboard(), swap=tf.constant(1)
        ),
        shapes=network_shapes((3, 3, 1), 1, 2),
        event=(3, 3, 1),
        network_calls=1,
    ),
    Case(
        name="InvertibleConv1x1-plu",
        covers=bijectors.InvertibleConv1x1,
        build=plu_conv,
        shapes={"lower": (4, 4), "upper": (4, 4), "log_diagonal": (4,)},
        event=(2, 3, 4),
        derived=("lower", "upper", "log_diagonal"),
    ),
    Case(
        name="InvertibleConv1x1-dense",
        covers=bijectors.InvertibleConv1x1,
        build=lambda p, watch=unwatched: bijectors.InvertibleConv1x1.from_dense(p["weight"]),
        shapes={"weight": (3, 3)},
        event=(3, 2, 3),
        derived=("weight",),
    ),
    Case(
        name="InvertibleConv1x1-dense-1d",
        covers=bijectors.InvertibleConv1x1,
        build=lambda p, watch=unwatched: bijectors.InvertibleConv1x1.from_dense(p["weight"], event_ndims=1),
        shapes={"weight": (5, 5)},
        event=(5,),
        derived=("weight",),
    ),
    Case(
        name="InvertibleConv1x1-dense-2d",
        covers=bijectors.InvertibleConv1x1,
        build=lambda p, watch=unwatched: bijectors.InvertibleConv1x1.from_dense(p["weight"], event_ndims=2),
        shapes={"weight": (3, 3)},
        event=(4, 3),
        derived=("weight",),
    ),
    Case(
        name="Permutation-reverse",
        covers=bijectors.Permutation,
        build=lambda p, watch=unwatched: bijectors.Permutation.reverse(4),
        event=(2, 3, 4),
    ),
    Case(
        name="Permutation-shuffle",
        covers=bijectors.Permutation,
        build=lambda p, watch=unwatched: bijectors.Permutation.shuffle(6, seed=3, event_ndims=1),
        event=(6,),
    ),
    Case(
        name="Squeeze-2",
        covers=bijectors.Squeeze,
        build=lambda p, watch=unwatched: bijectors.Squeeze(),
        event=(4, 6, 3),
        latent=(2, 3, 12),
    ),
    Case(
        name="Squeeze-3",
        covers=bijectors.Squeeze,
        build=lambda p, watch=unwatched: bijectors.Squeeze(3),
        event=(3, 6, 1),
        latent=(1, 2, 9),
    ),
    Case(
        name="Squeeze-position-major",
        covers=bijectors.Squeeze,
        build=lambda p, watch=unwatched: bijectors.Squeeze(order="position_major"),
        event=(4, 6, 3),
        latent=(2, 3, 12),
    ),
    Case(
        name="Squeeze-of-sequences",
        covers=bijectors.Squeeze,
        build=lambda p, watch=unwatched: bijectors.Squeeze(3, event_ndims=2),
        event=(6, 2),
        latent=(2, 6),
    ),
    Case(
        name="Split-prior",
        covers=bijectors.Split,
        build=lambda p, watch=unwatched: bijectors.Split(watch(network(p, (2, 3, 4), 4))),
        shapes=network_shapes((2, 3, 4), 2, 4),
        event=(2, 3, 4),
        network_calls=1,
    ),
    Case(
        name="Split-standard-normal",
        covers=bijectors.Split,
        build=lambda p, watch=unwatched: bijectors.Split(None),
        event=(2, 3, 4),
    ),
    Case(
        name="Split-prior-1d",
        covers=bijectors.Split,
        build=lambda p, watch=unwatched: bijectors.Split(watch(network(p, (4,), 4)), event_ndims=1),
        shapes=network_shapes((4,), 2, 4),
        event=(4,),
        network_calls=1,
    ),
    Case(
        name="Split-prior-2d",
        covers=bijectors.Split,
        build=lambda p, watch=unwatched: bijectors.Split(watch(network(p, (3, 4), 4)), event_ndims=2),
        shapes=network_shapes((3, 4), 2, 4),
        event=(3, 4),
        network_calls=1,
    ),
    Case(
        name="DiagonalPrior-one",
        covers=bijectors.DiagonalPrior,
        build=lambda p, watch=unwatched: bijectors.DiagonalPrior(p["mean"], p["log_stddev"]),
        shapes={"mean": (1, 2, 3, 2), "log_stddev": (1, 2, 3, 2)},
        event=(2, 3, 2),
    ),
    Case(
        name="DiagonalPrior-labels",
        covers=bijectors.DiagonalPrior,
        build=lambda p, watch=unwatched: bijectors.DiagonalPrior(p["mean"], p["log_stddev"]),
        shapes={"mean": (3, 2, 2, 2), "log_stddev": (3, 2, 2, 2)},
        event=(2, 2, 2),
        labels=3,
    ),
    Case(
        name="DiagonalPrior-labels-2d",
        covers=bijectors.DiagonalPrior,
        build=lambda p, watch=unwatched: bijectors.DiagonalPrior(p["mean"], p["log_stddev"]),
        shapes={"mean": (3, 4, 2), "log_stddev": (3, 4, 2)},
        event=(4, 2),
        labels=3,
    ),
    Case(
        name="Logit",
        covers=bijectors.Logit,
        build=lambda p, watch=unwatched: bijectors.Logit(),
        event=(2, 3, 2),
        bounded=True,
        scales=(1.0, 1e-8),
    ),
    Case(
        name="Logit-1d-small-alpha",
        covers=bijectors.Logit,
        build=lambda p, watch=unwatched: bijectors.Logit(1e-6, event_ndims=1),
        event=(5,),
        bounded=True,
        scales=(1.0, 1e-8),
    ),
    Case(
        name="FlowStep",
        covers=bijectors.FlowStep,
        build=flow_step,
        shapes=STEP_SHAPES,
        event=STEP_EVENT,
        derived=("weight",),
        network_calls=1,
    ),
    *(
        Case(
            name=f"Stack-{gradient}",
            covers=bijectors.Stack,
            build=lambda p, watch=unwatched, gradient=gradient: stack(p, watch, gradient),
            shapes={name: (DEPTH, *shape) for name, shape in STEP_SHAPES.items()},
            event=STEP_EVENT,
            derived=("weight",),
            network_calls=DEPTH,
            slow=gradient == "stored",
        )
        for gradient in ("reversible", "stored")
    ),
    Case(
        name="MultiScale-priors",
        covers=bijectors.MultiScale,
        build=multi_scale,
        shapes={
            "bias": (1,),
            "log_scale": (1,),
            "mean": (1, 1, 1, 4),
            "log_stddev": (1, 1, 1, 4),
            **network_shapes((2, 2, 4), 2, 4),
        },
        event=(4, 4, 1),
        latent=(16,),
        network_calls=1,
    ),
    Case(
        name="MultiScale-stack",
        covers=bijectors.MultiScale,
        build=multi_scale_of_stack,
        slow=True,
        shapes={name: (DEPTH, *shape) for name, shape in STEP_SHAPES.items()},
        event=(4, 4, 1),
        latent=(16,),
        derived=("weight",),
        network_calls=DEPTH,
    ),
    Case(
        name="MultiScale-flat",
        covers=bijectors.MultiScale,
        build=lambda p, watch=unwatched: bijectors.MultiScale(
            [bijectors.Coupling(watch(network(p, (4,), 4)), event_ndims=1)], [(4,), (4,)]
        ),
        shapes=network_shapes((4,), 2, 4),
        event=(4,),
        network_calls=1,
    ),
    Case(
        name="Adapter-Scale",
        covers=bijectors.Adapter,
        build=lambda p, watch=unwatched: bijectors.Adapter(tfb.Scale(log_scale=p["log_scale"]), event_ndims=3),
        shapes={"log_scale": (2, 3, 2)},
        event=(2, 3, 2),
    ),
    Case(
        name="Adapter-Reshape",
        covers=bijectors.Adapter,
        build=lambda p, watch=unwatched: bijectors.Adapter(
            tfb.Reshape(event_shape_in=(2, 3, 2), event_shape_out=[12]), event_ndims=3, inverse_event_ndims=1
        ),
        event=(2, 3, 2),
        latent=(12,),
    ),
]
