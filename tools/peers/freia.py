"""Glow of FrEIA: a graph of its AllInOneBlocks, which are a coupling, a scale and shift, and a mixing of channels.

What differs from glow_tf's: the mixing is a fixed rotation, not a learned matrix; scales are clamped by tanh; biases in
place of actnorms in the coupling networks, which see no border; what is factored out, and the top, is standard normal;
no moving average.
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
    """The model, whose outputs are the latents of each level."""
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
