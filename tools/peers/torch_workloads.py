"""Code shared by the peers in PyTorch: device, batch, update, the measure of likelihood, the coupling network."""

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
    """The workloads of a flow, which is moved to the model's device; on a GPU `memory` too.

    Each reads one number back, and so waits for the device.

    Args:
      flow: the module with the parameters. A first likelihood initialises its actnorms, where it has that.
      log_prob: maps x: [B, 3, H, W] in [-0.5, 0.5) to [B], in nats.
      sample: draws a batch of images.
      model: the sizes, and the device.
      after_update: what else belongs to a training step.
      set_compiled: has the flow use torch.compile from now on, or not. On a GPU each workload then tries both when it
        is first called and keeps the faster one, and `note` tells what came of it.
    """
    torch.set_num_threads(model.threads)
    gpu = model.device == "cuda"
    if gpu:
        _set_precision(model.precision)
    # On the GPU before a first likelihood initialises actnorms: what tells that it has is set by packages on the CPU,
    # where it can be looked at without waiting for the GPU.
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

    # Parameters that were set in inference mode could not be trained.
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
    """The log-density of each image's latents under a standard normal, [B].

    torch.distributions would check on the way that they are numbers, for which a GPU has to be waited for.
    """
    return -0.5 * (z.square() + _LOG_2_PI).flatten(1).sum(1)


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


def _set_precision(precision: str) -> None:
    """Makes a GPU multiply float32 in TF32, or not, and choose the fastest way for each convolution."""
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
    """The most bytes of the GPU that tensors have had since this was last called."""
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak
