"""Glow in nflows: a MultiscaleCompositeTransform of ActNorm, OneByOneConvolution and AffineCouplingTransform.

Differences from glow_tf: 1x1 convolutions multiply by each factor of the LU form instead of by the matrix; coupling
networks have biases instead of actnorms, and no border channel; all latents have a standard normal prior; no moving
average.

It inverts 1x1 convolutions with torch.triangular_solve, which PyTorch 2.13 still has.
"""

from collections.abc import Callable

import torch
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import (
    ActNorm,
    AffineCouplingTransform,
    CompositeTransform,
    MultiscaleCompositeTransform,
    OneByOneConvolution,
    SqueezeTransform,
)
from torch import nn

from tools.peers.model import TEMPERATURE, Model
from tools.peers.torch_workloads import coupling_network, workloads


def build(model: Model) -> dict[str, Callable[[], float]]:
    """Builds the workloads."""
    transform = make_transform(model)
    flow = Flow(transform, StandardNormal([model.dimensions]))

    def sample() -> torch.Tensor:
        noise = torch.randn(model.batch_size, model.dimensions, device=model.device)
        return transform.inverse(TEMPERATURE * noise)[0]

    return workloads(flow, flow.log_prob, sample, model)


def make_transform(model: Model) -> MultiscaleCompositeTransform:
    """Returns the model, which maps images to flat latents."""

    def step(channels: int) -> list[nn.Module]:
        mask = torch.arange(channels) >= channels // 2
        coupling = AffineCouplingTransform(mask, lambda inputs, outputs: _Network(inputs, outputs, model.width))
        return [ActNorm(channels), OneByOneConvolution(channels), coupling]

    flow = MultiscaleCompositeTransform(model.L)
    shape = (3, model.image_size, model.image_size)
    for _ in range(model.L):
        squeeze = SqueezeTransform()
        shape = squeeze.get_output_shape(*shape)
        steps = [transform for _ in range(model.K) for transform in step(shape[0])]
        shape = flow.add_transform(CompositeTransform([squeeze, *steps]), shape)
    return flow


class _Network(nn.Module):
    """A coupling network with the signature that nflows expects."""

    def __init__(self, inputs: int, outputs: int, width: int):
        super().__init__()
        self.network = coupling_network(inputs, outputs, width)

    def forward(self, x: torch.Tensor, context: None = None) -> torch.Tensor:
        return self.network(x)
