"""Code shared by the PyTorch peers: device, batch, update, likelihood, coupling network."""

import math
from collections.abc import Callable

import torch
from torch import nn

from tools.peers.fastest import Fastest
from tools.peers.model import LEARNING_RATE, Model

_LOG_2_PI = math.log(2 * math.pi)


def workloads(
    flow: nn.Module,
    log_prob: Callable[[torch.Tensor], torch.Tensor],
    sample: Callable[[], torch.Tensor],
    model: Model,
    *,
    after_update: Callable[[], None] = lambda: None,
    set_compiled: Callable[[bool], None] | None = None,
) -> dict[str, Callable[[], float | str]]:
    """Returns the workloads of a flow, which is moved to the model's device; on a GPU also `memory`.

    Each copies a number to the host, and thereby waits for the device.

    Args:
      flow: the module with the parameters. The first likelihood initialises its actnorms if they depend on data.
      log_prob: maps x: [B, 3, H, W] in [-0.5, 0.5) to [B], in nats.
      sample: draws a batch of images.
      model: sizes and device.
      after_update: further work of a training step.
      set_compiled: switches torch.compile on or off. On a GPU, each workload then times both at its first call and
        keeps the faster one, which `note` reports.
    """
    torch.set_num_threads(model.threads)
    gpu = model.device == "cuda"
    if gpu:
        _set_precision(model.precision)
    # Moved before the first likelihood initialises the actnorms: packages then keep their initialisation flags on the
    # CPU, where they can be read without waiting for the GPU.
    flow.to(model.device)
    shape = [model.batch_size, 3, model.image_size, model.image_size]
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = images.to(model.device)
    optimizer = torch.optim.Adamax(flow.parameters(), lr=LEARNING_RATE, foreach=gpu or None)

    def bits_per_dim() -> torch.Tensor:
        x = (images + torch.rand(shape, device=images.device)) / 256 - 0.5
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

    # Not in inference mode, in which initialised parameters could not be trained afterwards.
    with torch.no_grad():
        bits_per_dim()
    functions = {"train": train, "likelihood": likelihood, "sample": mean_of_sample}
    if not gpu:
        return functions
    if set_compiled is None:
        return {**functions, "memory": _peak_memory}
    fastest = {name: _eager_or_compiled(function, set_compiled) for name, function in functions.items()}

    def note() -> str:
        return " / ".join(f"{name}: {choice.note}" for name, choice in fastest.items() if choice.note)

    return {**fastest, "memory": _peak_memory, "note": note}


def log_normal(z: torch.Tensor) -> torch.Tensor:
    """Computes the log-density of each image's latents under a standard normal, [B].

    torch.distributions would check for NaN, which waits for the GPU.
    """
    return -0.5 * (z.square() + _LOG_2_PI).flatten(1).sum(1)


def coupling_network(inputs: int, outputs: int, width: int) -> nn.Sequential:
    """Returns a 3x3 convolution, ReLU, 1x1 convolution, ReLU, and a 3x3 convolution initialised to zero."""
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


def _set_precision(precision: str) -> None:
    """Sets whether a GPU multiplies float32 in TF32, and has cuDNN select the fastest convolutions."""
    tf32 = precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.benchmark = True


def _eager_or_compiled(function: Callable[[], float], set_compiled: Callable[[bool], None]) -> Fastest:
    def way(compiled: bool) -> Callable[[], float]:
        def run() -> float:
            set_compiled(compiled)
            return function()

        return run

    return Fastest({"eager": way(False), "compiled": way(True)})


def _peak_memory() -> int:
    """Returns the peak memory of tensors on the GPU since the last call, in bytes."""
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak
