"""Glow of normflows: its MultiscaleFlow of GlowBlocks, put together as in its own example.

What differs from glow_tf's: biases in place of actnorms in the coupling networks, which see no border; what is factored
out has a Gaussian of its own at every position, in place of one that is read off what remains; no moving average.
"""

from collections.abc import Callable

import normflows as nf

from tools.peers.model import TEMPERATURE, Model
from tools.peers.torch_workloads import workloads


def build(model: Model) -> dict[str, Callable[[], float]]:
    """Builds the workloads."""
    flow = make_flow(model)
    return workloads(
        flow,
        lambda x: flow.log_prob(x, None),
        lambda: flow.sample(model.batch_size, temperature=TEMPERATURE)[0],
        model,
    )


def make_flow(model: Model) -> nf.MultiscaleFlow:
    """The model; its levels are counted from the top."""
    bases, flows, merges = [], [], []
    for level in range(model.L, 0, -1):
        channels, side = 3 * 2 ** (level + 1), model.image_size // 2**level
        top = level == model.L
        bases.append(nf.distributions.DiagGaussian((channels if top else channels // 2, side, side)))
        flows.append([*(nf.flows.GlowBlock(channels, model.width) for _ in range(model.K)), nf.flows.Squeeze()])
        if not top:
            merges.append(nf.flows.Merge())
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=False)
