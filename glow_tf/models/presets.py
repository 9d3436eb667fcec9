"""The model families as plain functions that return a `ModelConfig`."""

from glow_tf import config as c
from glow_tf.config import ModelConfig


def glow(
    image_shape: tuple[int, int, int] = (32, 32, 3),
    K: int = 32,
    L: int = 3,
    width: int = 512,
    coupling: str = "affine",
    permutation: str = "conv1x1",
    n_bits: int = 8,
    learn_top: bool = True,
    num_classes: int = 0,
    *,
    conditional: bool | None = None,
    classifier: bool = False,
    gradient: str = "reversible",
) -> ModelConfig:
    """Glow: L levels of K steps of actnorm, 1x1 convolution and coupling (Kingma & Dhariwal 2018, section 3, figure 2).

    Args:
      image_shape: (H, W, C); sides are multiples of 2^L, C is 1 or 3.
      K: depth of flow, the steps of each level.
      L: number of levels.
      width: hidden channels of the coupling networks.
      coupling: `affine` or `additive` (section 3.3).
      permutation: `conv1x1` (PLU form, equation 10), `conv1x1_dense` (its weights as one matrix, as in the official
        code), `shuffle` (fixed) or `reverse` (section 3.2).
      n_bits: bits per colour channel that are modelled.
      learn_top: whether the mean and scale of the top prior are learned.
      num_classes: number of labels, 0 for none.
      conditional: whether labels condition the top prior; by default, where there are any.
      classifier: whether a linear classifier on the top latent joins the model (section 5, conditional model).
      gradient: `reversible` (memory does not grow with K) or `stored`.

    Raises:
      ValueError: if an argument is out of range or the image's sides are not multiples of 2^L.
    """
    c.at_least("K", K, 1)
    c.at_least("L", L, 1)
    c.one_of("coupling", coupling, ("affine", "additive"))
    c.one_of("permutation", permutation, ("conv1x1", "conv1x1_dense", "shuffle", "reverse"))
    c.check_divisible(image_shape, L)
    if conditional is None:
        conditional = num_classes > 0
    layers: list[c.Layer] = []
    for level in range(L):
        layers += [c.Squeeze(), c.Steps(depth=K, width=width, coupling=coupling, permutation=permutation)]
        if level < L - 1:
            layers.append(c.Split())
    if learn_top or conditional:
        layers.append(c.TopPrior(learned=learn_top, conditional=conditional))
    return ModelConfig(
        name="glow",
        image_shape=image_shape,
        layers=tuple(layers),
        n_bits=n_bits,
        num_classes=num_classes,
        classifier=classifier,
        gradient=gradient,
    )


def real_nvp(
    image_shape: tuple[int, int, int] = (32, 32, 3),
    L: int | None = None,
    width: int = 32,
    blocks: int = 4,
    n_bits: int = 8,
    *,
    gradient: str = "reversible",
) -> ModelConfig:
    """RealNVP (Dinh, Sohl-Dickstein & Bengio 2017, sections 3.4 to 3.6 and 4.1).

    At each scale: three couplings with alternating checkerboard masks, a squeeze, three couplings with alternating
    channel masks, and half of the variables factored out as standard normal; the last scale has four checkerboard
    couplings. Coupling networks are residual networks with weight normalisation, whose features double after each
    squeeze; the log-scale is a learned factor times tanh. The images pass the paper's logit first.

    The paper puts batch normalisation, with running averages, into the flow and its networks. Here actnorm stands in
    both places: it has no state that differs between training and evaluation, so that the likelihood is one function.

    Args:
      image_shape: (H, W, C); C is 1 or 3.
      L: number of times the image is halved; by default until its shorter side is 4 (section 4.1).
      width: feature maps of the first residual networks.
      blocks: residual blocks of each network.
      n_bits: bits per colour channel that are modelled.
      gradient: `reversible` or `stored`.

    Raises:
      ValueError: if an argument is out of range or the image's sides are not multiples of 2^L.
    """
    if L is None:
        L = max(1, (min(image_shape[:2]) // 4).bit_length() - 1) if len(image_shape) == 3 else 1
    c.at_least("L", L, 1)
    c.check_divisible(image_shape, L)

    def couplings(depth: int, mask: str, features: int) -> c.Steps:
        return c.Steps(
            depth=depth,
            width=features,
            permutation="none",
            coupling="affine_exp",
            mask=mask,
            alternate=True,
            network="resnet",
            blocks=blocks,
        )

    layers: list[c.Layer] = [c.Logit()]
    for level in range(L):
        layers += [
            couplings(3, "checkerboard", width * 2**level),
            c.Squeeze(),
            couplings(3, "channel", width * 2 ** (level + 1)),
            c.Split(learned=False),
        ]
    layers.append(couplings(4, "checkerboard", width * 2**L))
    return ModelConfig(name="real_nvp", image_shape=image_shape, layers=tuple(layers), n_bits=n_bits, gradient=gradient)


def nice(
    image_shape: tuple[int, ...] = (28, 28, 1),
    K: int = 4,
    width: int = 1000,
    blocks: int = 5,
    n_bits: int = 8,
    base: str = "logistic",
    *,
    gradient: str = "reversible",
) -> ModelConfig:
    """NICE: additive couplings with deep MLPs and a final scaling (Dinh, Krueger & Bengio 2015, sections 3 and 5.1).

    The couplings alternate between the even and the odd components of the flattened image, as in the paper.

    Args:
      image_shape: (H, W, C), or (D,) for flat vectors of uint8.
      K: number of couplings (paper: 4).
      width: units of each hidden layer (paper: 1000 on MNIST).
      blocks: hidden layers of each MLP (paper: 5 on MNIST).
      n_bits: bits per component that are modelled.
      base: `logistic` (paper: MNIST) or `normal`.
      gradient: `reversible` or `stored`.

    Raises:
      ValueError: if an argument is out of range.
    """
    c.at_least("K", K, 1)
    if len(image_shape) == 3:
        c.check_divisible(image_shape, 0)
    flatten = [c.Flatten()] if len(image_shape) == 3 else []
    steps = c.Steps(
        depth=K,
        width=width,
        actnorm=False,
        permutation="none",
        coupling="additive",
        mask="checkerboard",
        alternate=True,
        network="mlp",
        blocks=blocks,
    )
    return ModelConfig(
        name="nice",
        image_shape=image_shape,
        layers=(*flatten, steps, c.Scale()),
        n_bits=n_bits,
        base=base,
        gradient=gradient,
    )
