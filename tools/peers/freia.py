"""Glow in FrEIA: a graph of its AllInOneBlocks, each a coupling, a scale and shift, and a linear map of the channels.

Differences from glow_tf: the linear map is a fixed rotation, not learned; scales are clamped by tanh; coupling networks
have biases instead of actnorms, and no border channel; all latents have a standard normal prior; no moving average.
"""

from collections.abc import Callable

import FrEIA.framework as ff
import FrEIA.modules as fm
import torch

from tools.peers.model import TEMPERATURE, Model
from tools.peers.torch_workloads import coupling_network, log_normal, workloads


def build(model: Model) -> dict[str, Callable[[], float]]:
    """Builds the workloads."""
    flow = make_flow(model)

    def log_prob(x: torch.Tensor) -> torch.Tensor:
        latents, log_det = flow(x)
        return log_det + sum(map(log_normal, latents))

    def sample() -> torch.Tensor:
        shapes = flow.global_out_shapes
        latents = [TEMPERATURE * torch.randn(model.batch_size, *shape, device=model.device) for shape in shapes]
        (x,), _ = flow(latents, rev=True, jac=False)
        return x

    return workloads(flow, log_prob, sample, model)


def make_flow(model: Model) -> ff.GraphINN:
    """Returns the model, whose outputs are the latents of each level."""
    step = {
        "subnet_constructor": lambda inputs, outputs: coupling_network(inputs, outputs, model.width),
        "permute_soft": True,
        "global_affine_type": "EXP",
    }
    nodes = [ff.InputNode(3, model.image_size, model.image_size)]
    outputs = []
    for level in range(model.L):
        nodes.append(ff.Node(nodes[-1], fm.IRevNetDownsampling, {}))
        for _ in range(model.K):
            nodes.append(ff.Node(nodes[-1], fm.AllInOneBlock, step))
        if level < model.L - 1:
            nodes.append(ff.Node(nodes[-1], fm.Split, {}))
            outputs.append(ff.OutputNode(nodes[-1].out1))
    outputs.append(ff.OutputNode(nodes[-1]))
    return ff.GraphINN([*nodes, *outputs], force_tuple_output=True)
