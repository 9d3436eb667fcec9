"""A plain, fast Glow in PyTorch, representative of implementations that are not on PyPI.

  step     y = W (s * (x + b)),  W = P L (U + diag(sign * exp(log_diagonal))), then affine coupling
  network  3x3, 1x1 and 3x3 convolution, each with an actnorm; ReLU between them
  split    the factored-out half is whitened by a Gaussian that a 3x3 convolution computes from the other half

Actnorms are folded into the adjacent convolutions, so that only convolutions and ReLUs process hidden activations,
which autograd keeps. As in glow_tf's training, a step computes the norm of the gradient and a moving average of the
weights.

On a GPU, torch.compile compiles the steps of the flow if that is faster: each step by itself, as the steps of a level
share one compilation. With `precision="bfloat16"`, coupling networks are autocast, as in glow_tf.

Differences from glow_tf: coupling networks have no border channel; actnorms start as the identity.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tools.peers.model import TEMPERATURE, Model
from tools.peers.torch_workloads import log_normal, workloads

_DECAY = 0.999


def build(model: Model) -> dict[str, Callable[[], float]]:
    """Builds the workloads."""
    flow = Glow(model).to(model.device, memory_format=torch.channels_last)
    parameters = list(flow.parameters())
    averages = [parameter.detach().clone() for parameter in parameters]
    average = get_ema_multi_avg_fn(_DECAY)

    @torch.no_grad()
    def after_update() -> None:
        torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
        average(averages, parameters, 1)

    def log_prob(x: torch.Tensor) -> torch.Tensor:
        latents, log_det = flow.encode(x)
        return log_det + sum(map(log_normal, latents))

    def sample() -> torch.Tensor:
        shapes = flow.latent_shapes
        noise = [torch.randn(model.batch_size, *shape, device=model.device) for shape in shapes]
        return flow.decode([TEMPERATURE * z for z in noise])

    return workloads(flow, log_prob, sample, model, after_update=after_update, set_compiled=flow.set_compiled)


class Glow(nn.Module):
    """L levels of K steps; all latents are standard normal.

    Attributes:
      latent_shapes: (C, H, W) of the latents, from the finest level to the top.
    """

    def __init__(self, model: Model):
        super().__init__()
        channels, side = 3, model.image_size
        self._step_forward, self._step_inverse = Step.forward, Step.inverse
        self.levels, self.splits, self.latent_shapes = nn.ModuleList(), nn.ModuleList(), []
        for level in range(model.L):
            channels, side = 4 * channels, side // 2
            self.levels.append(nn.ModuleList(Step(channels, model.width, model.precision) for _ in range(model.K)))
            if level < model.L - 1:
                channels //= 2
                self.splits.append(Convolution(channels, 2 * channels, 3, zero=True))
            self.latent_shapes.append((channels, side, side))
        self.top_mean = nn.Parameter(torch.zeros(channels, 1, 1))
        self.top_log_stddev = nn.Parameter(torch.zeros(channels, 1, 1))

    def set_compiled(self, compiled: bool) -> None:
        """Sets whether `encode` and `decode` use steps compiled by torch.compile."""
        self._step_forward = _compiled(Step.forward) if compiled else Step.forward
        self._step_inverse = _compiled(Step.inverse) if compiled else Step.inverse

    def encode(self, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Encodes x: [B, 3, H, W] as latents; returns them and the log-det [B]."""
        latents, log_det = [], 0.0
        for i, steps in enumerate(self.levels):
            x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
            for step in steps:
                x, change = self._step_forward(step, x)
                log_det = log_det + change
            if i < len(self.splits):
                x, z = x.chunk(2, 1)
                mean, log_stddev = self.splits[i](x).chunk(2, 1)
                latents.append((z - mean) * torch.exp(-log_stddev))
                log_det = log_det - log_stddev.sum((1, 2, 3))
        latents.append((x - self.top_mean) * torch.exp(-self.top_log_stddev))
        return latents, log_det - self.top_log_stddev.sum() * x[0, 0].numel()

    def decode(self, latents: list[torch.Tensor]) -> torch.Tensor:
        """Decodes latents to images [B, 3, H, W]."""
        x = latents[-1] * torch.exp(self.top_log_stddev) + self.top_mean
        for i in reversed(range(len(self.levels))):
            if i < len(self.splits):
                mean, log_stddev = self.splits[i](x).chunk(2, 1)
                x = torch.cat([x, latents[i] * torch.exp(log_stddev) + mean], 1)
            x = x.contiguous(memory_format=torch.channels_last)
            for step in reversed(self.levels[i]):
                x = self._step_inverse(step, x)
            x = F.pixel_shuffle(x, 2)
        return x


class Step(nn.Module):
    """Actnorm, 1x1 convolution, affine coupling."""

    def __init__(self, channels: int, width: int, precision: str):
        super().__init__()
        self._bfloat16 = precision == "bfloat16"
        permutation, lower, upper = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", upper.diag().sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(upper.diag().abs().log())
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.network = nn.Sequential(
            Convolution(channels // 2, width, 3),
            nn.ReLU(inplace=True),
            Convolution(width, width, 1),
            nn.ReLU(inplace=True),
            Convolution(width, channels, 3, zero=True),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps x: [B, C, H, W] to y: [B, C, H, W]; returns y and the log-det [B]."""
        lower, upper = self._factors()
        matrix = self.permutation @ lower @ upper * self.log_scale.exp()
        x = F.conv2d(x, matrix[..., None, None], matrix @ self.bias)
        x1, x2 = x.chunk(2, 1)
        shift, s = self._shift_and_scale(x1)
        log_scale = F.logsigmoid(s + 2)
        log_det = (self.log_diagonal.sum() + self.log_scale.sum()) * x[0, 0].numel() + log_scale.sum((1, 2, 3))
        return torch.cat([x1, (x2 + shift) * log_scale.exp()], 1), log_det

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """Inverts `forward`: maps y: [B, C, H, W] to x: [B, C, H, W]."""
        y1, y2 = y.chunk(2, 1)
        shift, s = self._shift_and_scale(y1)
        y = torch.cat([y1, y2 * torch.exp(-F.logsigmoid(s + 2)) - shift], 1)
        lower, upper = self._factors()
        inverse = torch.linalg.solve_triangular(lower, self.permutation.T, upper=False, unitriangular=True)
        inverse = torch.linalg.solve_triangular(upper, inverse, upper=True)
        inverse = inverse * torch.exp(-self.log_scale)[:, None]
        return F.conv2d(y, inverse[..., None, None], -self.bias)

    def _shift_and_scale(self, x1: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self._bfloat16:
            return self.network(x1).chunk(2, 1)
        with torch.autocast(x1.device.type, torch.bfloat16):
            found = self.network(x1)
        return found.to(x1.dtype).chunk(2, 1)

    def _factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        lower = self.lower.tril(-1) + torch.eye(len(self.lower), dtype=self.lower.dtype, device=self.lower.device)
        return lower, self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())


@functools.cache
def _compiled(function: Callable) -> Callable:
    # One compilation for each shape, with and without gradients; dynamic shapes would be slower.
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(function, dynamic=False)


class Convolution(nn.Module):
    """A convolution that keeps the size, and the actnorm after it: s * (conv(x) + b)."""

    def __init__(self, inputs: int, outputs: int, size: int, *, zero: bool = False):
        super().__init__()
        kernel = torch.zeros(outputs, inputs, size, size) if zero else 0.05 * torch.randn(outputs, inputs, size, size)
        self.kernel = nn.Parameter(kernel)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.log_scale = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps x: [B, inputs, H, W] to [B, outputs, H, W]."""
        scale = self.log_scale.exp()
        return F.conv2d(x, self.kernel * scale[:, None, None, None], self.bias * scale, padding="same")
