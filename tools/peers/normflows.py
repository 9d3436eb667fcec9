"""Glow in normflows: its MultiscaleFlow of GlowBlocks, as in its own example.

Differences from glow_tf: coupling networks have biases instead of actnorms, and no border channel; the prior of
factored-out variables is an unconditional Gaussian at every position; no moving average.
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
    """Returns the model; its levels are counted from the top."""
    bases, flows, merges = [], [], []
    for level in range(model.L, 0, -1):
        channels, side = 3 * 2 ** (level + 1), model.image_size // 2**level
        top = level == model.L
        bases.append(nf.distributions.DiagGaussian((channels if top else channels // 2, side, side)))
        flows.append([*(nf.flows.GlowBlock(channels, model.width) for _ in range(model.K)), nf.flows.Squeeze()])
        if not top:
            merges.append(nf.flows.Merge())
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=False)
