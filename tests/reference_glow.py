"""The official model's forward pass in plain NumPy, in float64, from a dictionary of variables keyed by official name.

Written from the description of the official code (github.com/openai/glow), and independent of glow_tf: each variable is
looked up by name, each step is a line of arithmetic, nothing is stacked or shared.
"""

import dataclasses
import itertools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Flags:
    """The official code's flags, with words in place of numeric choices."""

    permutation: str  # reverse, shuffle, or conv1x1
    coupling: str  # additive or affine
    learntop: bool
    ycond: bool
    depth: int
    n_levels: int
    width: int
    n_bits_x: int = 8
    n_y: int = 10
    classifier: bool = False


def random_variables(flags: Flags, image_shape: tuple[int, int, int], seed: int) -> dict[str, np.ndarray]:
    """Random values for every variable of the official model, far from their initial ones."""
    rng = np.random.default_rng(seed)
    variables = {}

    def normal(name, shape, scale):
        variables[name] = rng.normal(0, scale, shape).astype(np.float32)

    def actnorm(name, channels):
        normal(f"{name}_center/b", [1, 1, 1, channels], 0.2)
        normal(f"{name}_scale/logs", [1, 1, 1, channels], 0.05)

    def conv2d_zeros(name, inputs, outputs):
        normal(f"{name}/W", [3, 3, inputs + 1, outputs], 0.05)
        normal(f"{name}/b", [1, 1, 1, outputs], 0.1)
        normal(f"{name}/logs", [1, outputs], 0.05)

    def linear_zeros(name, inputs, outputs):
        normal(f"{name}/W", [inputs, outputs], 0.2)
        normal(f"{name}/b", [1, outputs], 0.1)
        normal(f"{name}/logs", [1, outputs], 0.05)

    channels = image_shape[-1]
    for level in range(flags.n_levels):
        channels *= 4
        half = channels // 2
        for step in range(flags.depth):
            name = f"model/{level}/{step}"
            actnorm(f"{name}/actnorm", channels)
            if flags.permutation == "shuffle":
                indices = rng.permutation(channels).astype(np.int32)
                variables[f"{name}/shuffle/indices"] = indices
                variables[f"{name}/shuffle/indices_inverse"] = np.argsort(indices).astype(np.int32)
            elif flags.permutation == "conv1x1":
                rotation, _ = np.linalg.qr(rng.normal(size=[channels, channels]))
                stretch = np.exp(rng.normal(0, 0.1, channels))
                variables[f"{name}/invconv/W"] = (rotation * stretch).astype(np.float32)
            normal(f"{name}/f1/l_1/W", [3, 3, half + 1, flags.width], 0.2)
            actnorm(f"{name}/f1/l_1/actnorm", flags.width)
            normal(f"{name}/f1/l_2/W", [1, 1, flags.width, flags.width], 0.2)
            actnorm(f"{name}/f1/l_2/actnorm", flags.width)
            conv2d_zeros(f"{name}/f1/l_last", flags.width, half if flags.coupling == "additive" else channels)
        if level < flags.n_levels - 1:
            conv2d_zeros(f"model/pool{level}/conv", half, channels)
            channels = half
    if flags.learntop:
        conv2d_zeros("model/prior/p", 2 * channels, 2 * channels)
    if flags.ycond:
        linear_zeros("model/prior/y_emb", flags.n_y, 2 * channels)
    if flags.classifier:
        linear_zeros("model/classifier", channels, flags.n_y)
    return variables


def quantized(images: np.ndarray, n_bits_x: int) -> np.ndarray:
    """The lower edges of the pixels' bins, in [-0.5, 0.5)."""
    return np.floor(images.astype(np.float64) / 2 ** (8 - n_bits_x)) / 2.0**n_bits_x - 0.5


def forward(
    variables: dict[str, np.ndarray], x: np.ndarray, flags: Flags, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Bits per dimension [B] and whitened latents eps [B, D] of dequantized images x [B, H, W, C]."""
    v = {name: np.asarray(value, np.float64) for name, value in variables.items()}
    z = np.asarray(x, np.float64)
    dimensions = z[0].size
    objective = np.full(len(z), -np.log(2.0**flags.n_bits_x) * dimensions)
    eps = []
    for level in range(flags.n_levels):
        z = squeeze2d(z)
        for step in range(flags.depth):
            z, log_det = flow_step(v, f"model/{level}/{step}", z, flags)
            objective += log_det
        if level < flags.n_levels - 1:
            half = z.shape[-1] // 2
            z1, z2 = z[..., :half], z[..., half:]
            h = conv2d_zeros(v, f"model/pool{level}/conv", z1)
            noise, log_density = gaussian_diag(z2, h[..., 0::2], h[..., 1::2])
            objective += log_density
            eps.append(noise.reshape(len(z), -1))
            z = z1
    channels = z.shape[-1]
    h = np.zeros([*z.shape[:3], 2 * channels])
    if flags.learntop:
        h = conv2d_zeros(v, "model/prior/p", h)
    if flags.ycond:
        h = h + linear_zeros(v, "model/prior/y_emb", np.eye(flags.n_y)[labels])[:, None, None, :]
    noise, log_density = gaussian_diag(z, h[..., :channels], h[..., channels:])
    objective += log_density
    eps.append(noise.reshape(len(z), -1))
    return -objective / (np.log(2) * dimensions), np.concatenate(eps, axis=1)


def flow_step(v, name, z, flags):
    positions = z.shape[1] * z.shape[2]
    z = actnorm(v, f"{name}/actnorm", z)
    log_det = positions * 3 * v[f"{name}/actnorm_scale/logs"].sum()
    if flags.permutation == "reverse":
        z = z[..., ::-1]
    elif flags.permutation == "shuffle":
        z = z[..., v[f"{name}/shuffle/indices"].astype(int)]
    else:
        w = v[f"{name}/invconv/W"]
        z = z @ w
        log_det = log_det + positions * np.log(np.abs(np.linalg.det(w)))
    half = z.shape[-1] // 2
    z1, z2 = z[..., :half], z[..., half:]
    h = np.maximum(actnorm(v, f"{name}/f1/l_1/actnorm", edge_padded_conv(z1, v[f"{name}/f1/l_1/W"])), 0)
    h = np.maximum(actnorm(v, f"{name}/f1/l_2/actnorm", h @ v[f"{name}/f1/l_2/W"][0, 0]), 0)
    h = conv2d_zeros(v, f"{name}/f1/l_last", h)
    if flags.coupling == "additive":
        return np.concatenate([z1, z2 + h], axis=-1), np.full(len(z), log_det)
    scale = 1 / (1 + np.exp(-(h[..., 1::2] + 2)))
    z2 = (z2 + h[..., 0::2]) * scale
    return np.concatenate([z1, z2], axis=-1), log_det + np.log(scale).sum(axis=(1, 2, 3))


def squeeze2d(x):
    batch, height, width, channels = x.shape
    y = np.empty([batch, height // 2, width // 2, 4 * channels])
    for c, dy, dx in itertools.product(range(channels), range(2), range(2)):
        y[..., c * 4 + dy * 2 + dx] = x[:, dy::2, dx::2, c]
    return y


def actnorm(v, name, x):
    return (x + v[f"{name}_center/b"]) * np.exp(3 * v[f"{name}_scale/logs"])


def edge_padded_conv(x, kernel):
    """A 3x3 convolution of x padded with zeros, with an extra channel that is 1 on the padding and 0 inside."""
    batch, height, width, channels = x.shape
    padded = np.zeros([batch, height + 2, width + 2, channels + 1])
    padded[..., -1] = 1
    padded[:, 1:-1, 1:-1, :-1] = x
    padded[:, 1:-1, 1:-1, -1] = 0
    y = 0
    for dy, dx in itertools.product(range(3), range(3)):
        y = y + padded[:, dy : dy + height, dx : dx + width] @ kernel[dy, dx]
    return y


def conv2d_zeros(v, name, x):
    return (edge_padded_conv(x, v[f"{name}/W"]) + v[f"{name}/b"]) * np.exp(3 * v[f"{name}/logs"])


def linear_zeros(v, name, x):
    return (x @ v[f"{name}/W"] + v[f"{name}/b"]) * np.exp(3 * v[f"{name}/logs"])


def gaussian_diag(x, mean, logs):
    """The whitened x, and the log-density of each image under N(mean, exp(logs)^2)."""
    noise = (x - mean) * np.exp(-logs)
    log_density = -0.5 * (np.log(2 * np.pi) + 2 * logs + noise**2)
    return noise, log_density.sum(axis=(1, 2, 3))


def class_logits(variables: dict[str, np.ndarray], top: np.ndarray) -> np.ndarray:
    """The classifier's logits [B, n_y] from the top latent before whitening, [B, H, W, C]."""
    v = {name: np.asarray(value, np.float64) for name, value in variables.items()}
    return linear_zeros(v, "model/classifier", top.mean(axis=(1, 2)))
