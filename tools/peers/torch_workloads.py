"""What the peers in PyTorch share: the batch, the update, the measure of likelihood, the coupling network."""

import math
from collections.abc import Callable

import torch
from torch import nn

from tools.peers.model import LEARNING_RATE, Model


def workloads(
    flow: nn.Module,
    log_prob: Callable[[torch.Tensor], torch.Tensor],
    sample: Callable[[], torch.Tensor],
    model: Model,
    *,
    after_update: Callable[[], None] = lambda: None,
) -> dict[str, Callable[[], float]]:
    """The workloads of a flow.

    Args:
      flow: the module with the parameters. A first likelihood initialises its actnorms, where it has that.
      log_prob: maps x: [B, 3, H, W] in [-0.5, 0.5) to [B], in nats.
      sample: draws a batch of images.
      model: the sizes.
      after_update: what else belongs to a training step.
    """
    torch.set_num_threads(model.threads)
    shape = [model.batch_size, 3, model.image_size, model.image_size]
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adamax(flow.parameters(), lr=LEARNING_RATE)

    def bits_per_dim() -> torch.Tensor:
        x = (images + torch.rand(shape)) / 256 - 0.5
        return 8 - log_prob(x).mean() / (model.dimensions * math.log(2))

    def train() -> float:
        optimizer.zero_grad()
        loss = bits_per_dim()
        loss.backward()
        optimizer.step()
        after_update()
        return loss.item()

    @torch.inference_mode()
    def likelihood() -> float:
        return bits_per_dim().item()

    @torch.inference_mode()
    def mean_of_sample() -> float:
        return sample().mean().item()

    # Parameters that were set in inference mode could not be trained.
    with torch.no_grad():
        bits_per_dim()
    return {"train": train, "likelihood": likelihood, "sample": mean_of_sample}


def coupling_network(inputs: int, outputs: int, width: int) -> nn.Sequential:
    """3x3 convolution, ReLU, 1x1 convolution, ReLU, 3x3 convolution that starts at zero."""
    last = nn.Conv2d(width, outputs, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 1),
        nn.ReLU(inplace=True),
        last,
    )
