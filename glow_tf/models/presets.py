"""Model families, as plain functions that return a `ModelConfig`."""

import dataclasses
from collections.abc import Sequence

from glow_tf import dequantization, networks, partitions, transforms
from glow_tf.arguments import at_least, one_of
from glow_tf.config import ModelConfig
from glow_tf.dequantization import Continuous, Dequantizer
from glow_tf.layers import Flatten, Layer, Logit, Scale, Split, Squeeze, Steps, TopPrior
from glow_tf.layers.steps import PERMUTATIONS
from glow_tf.networks import Network
from glow_tf.transforms import Transform

# Couplings of Glow, as keys of `transforms.NAMED`.
COUPLINGS = ("affine", "additive", "mixture_logistic", "spline")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _FlowPlusPlusVariant:
    """The details in which the official code of Flow++ differs between data sets.

    Attributes:
      final_elu: see `networks.GatedAttention`.
      squeeze_order: see `layers.Squeeze`. The official code's is position-major; for CIFAR-10, where 1x1 convolutions
        mix all channels before each coupling, it is Glow's here.
      dequantization_depth: couplings of the dequantization.
      dequantization_blocks: blocks of its coupling networks.
      dequantization_attention: whether these blocks have attention.
      features: the network whose output conditions them.
    """

    final_elu: bool = True
    squeeze_order: str = "position_major"
    dequantization_depth: int = 4
    dequantization_blocks: int
    dequantization_attention: bool = True
    features: networks.GatedConvolutions


_FLOW_PLUS_PLUS = {
    "cifar10": _FlowPlusPlusVariant(
        final_elu=False,
        squeeze_order="channel_major",
        dequantization_blocks=2,
        features=networks.GatedConvolutions(blocks=3),
    ),
    "imagenet32": _FlowPlusPlusVariant(
        dequantization_depth=8,
        dequantization_blocks=8,
        features=networks.GatedConvolutions(blocks=8, normalized=True, heads=4),
    ),
    "imagenet64": _FlowPlusPlusVariant(
        dequantization_blocks=5,
        dequantization_attention=False,
        features=networks.GatedConvolutions(blocks=5, normalized=True),
    ),
}
FLOW_PLUS_PLUS_VARIANTS = tuple(_FLOW_PLUS_PLUS)


def glow(
    image_shape: tuple[int, int, int] = (32, 32, 3),
    K: int = 32,
    L: int = 3,
    width: int = 512,
    coupling: str | Transform = "affine",
    permutation: str = "conv1x1",
    n_bits: int = 8,
    learn_top: bool = True,
    num_classes: int = 0,
    *,
    conditional: bool | None = None,
    conditional_couplings: bool = False,
    classifier: bool = False,
    network: Network | None = None,
    kernels: tuple[int, int, int] = (3, 1, 3),
    dequantizer: str | Dequantizer | None = None,
    gradient: str = "reversible",
) -> ModelConfig:
    """Glow: L levels of K steps of actnorm, 1x1 convolution and coupling (Kingma & Dhariwal 2018, section 3, figure 2).

    Args:
      image_shape: (H, W, C); sides are multiples of 2^L, C is 1 or 3.
      K: depth of flow, the number of steps per level.
      L: number of levels.
      width: hidden channels of the coupling networks, if `network` is not given.
      coupling: `affine` or `additive` (section 3.3), `mixture_logistic` (Ho et al. 2019), `spline` (Durkan et al.
        2019), or a transform, such as `transforms.MixtureLogistic(components=32)`.
      permutation: `conv1x1` (PLU form, equation 10), `conv1x1_dense` (its weights as one matrix, as in the official
        code), `shuffle` (fixed) or `reverse` (section 3.2).
      n_bits: number of modelled bits per colour channel, if `dequantizer` is not an object.
      learn_top: whether the mean and scale of the top prior are learned.
      num_classes: number of labels, 0 for none.
      conditional: whether labels condition the top prior; by default, if there are any.
      conditional_couplings: whether labels also condition the coupling networks.
      classifier: whether to add a linear classifier on the top latent (section 5, conditional model).
      network: conditioner of the couplings; by default the paper's with `width` hidden channels.
      kernels: sizes of the three kernels of the coupling networks, if `network` is not given. For mixtures,
        most of the work is in the last one.
      dequantizer: map from images to real numbers: `uniform` noise (the default), `variational`, or a `Dequantizer`.
      gradient: `reversible` (memory does not grow with K) or `stored`.

    Raises:
      ValueError: if an argument is out of range or the image's sides are not multiples of 2^L.

    Examples:
      >>> config = glow_tf.glow((32, 32, 3), K=8, L=3, width=64, n_bits=5)
      >>> config.latent_shapes  # what leaves at each level, and the top
      [(16, 16, 6), (8, 8, 12), (4, 4, 48)]
      >>> config.dimensions
      3072
    """
    at_least("L", L, 1)
    _check_divisible(image_shape, L)
    layers = _glow_layers(
        Squeeze(),
        K=K,
        L=L,
        width=width,
        coupling=coupling,
        permutation=permutation,
        learn_top=learn_top,
        num_classes=num_classes,
        conditional=conditional,
        conditional_couplings=conditional_couplings,
        network=network,
        kernels=kernels,
    )
    return ModelConfig(
        name="glow",
        image_shape=image_shape,
        layers=layers,
        dequantizer=_dequantizer(dequantizer, n_bits),
        num_classes=num_classes,
        classifier=classifier,
        gradient=gradient,
    )


def glow_1d(
    shape: tuple[int, int] = (4096, 1),
    K: int = 8,
    L: int = 6,
    width: int = 128,
    coupling: str | Transform = "affine",
    permutation: str = "conv1x1",
    *,
    squeeze: int = 2,
    learn_top: bool = True,
    num_classes: int = 0,
    conditional: bool | None = None,
    conditional_couplings: bool = False,
    classifier: bool = False,
    network: Network | None = None,
    kernels: tuple[int, int, int] = (3, 1, 3),
    dequantizer: str | Dequantizer | None = None,
    gradient: str = "reversible",
) -> ModelConfig:
    """Glow for sequences, such as audio, after WaveGlow (Prenger et al. 2018) and FloWaveNet (Kim et al. 2018).

    Each of L levels squeezes [T, C] to [T / squeeze, squeeze * C], as a block of FloWaveNet does, and applies K steps
    of actnorm, 1x1 convolution and coupling; half of the channels are factored out after each level but the last.
    Glow's coupling network, with convolutions over time, replaces the WaveNet of both papers, which sees a spectrogram;
    a custom `network` receives the spectrogram as the context.

    Args:
      shape: (T, C), the length of a sequence and its channels, 1 for mono; T is a multiple of squeeze^L.
      K: number of steps per level.
      L: number of levels; the top has T / squeeze^L positions.
      width: hidden channels of the coupling networks, if `network` is not given.
      coupling, permutation: as for `glow`.
      squeeze: number of successive positions merged into one at each level, at least 2.
      dequantizer: map from sequences to real numbers; by default `Continuous`, for real-valued sequences. For uint8, as
        for `glow`.
      learn_top, num_classes, conditional, conditional_couplings, classifier, network, kernels, gradient: as for
        `glow`.

    Raises:
      ValueError: if an argument is out of range, or the length is not a multiple of squeeze^L.

    Prenger, Valle & Catanzaro 2018, "WaveGlow", arXiv 1811.00002; Kim et al. 2018, "FloWaveNet", arXiv 1811.02155.
    """
    at_least("L", L, 1)
    at_least("squeeze", squeeze, 2)
    _check_length(shape, L, squeeze)
    layers = _glow_layers(
        Squeeze(factor=squeeze),
        K=K,
        L=L,
        width=width,
        coupling=coupling,
        permutation=permutation,
        learn_top=learn_top,
        num_classes=num_classes,
        conditional=conditional,
        conditional_couplings=conditional_couplings,
        network=network,
        kernels=kernels,
    )
    return ModelConfig(
        name="glow_1d",
        image_shape=shape,
        layers=layers,
        dequantizer=_dequantizer(dequantizer or Continuous()),
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
    dequantizer: str | Dequantizer | None = None,
    gradient: str = "reversible",
) -> ModelConfig:
    """RealNVP (Dinh, Sohl-Dickstein & Bengio 2017, sections 3.4 to 3.6 and 4.1).

    At each scale: three couplings with alternating checkerboard masks, a squeeze, three couplings with alternating
    channel masks, and half of the variables factored out as standard normal; the last scale has four checkerboard
    couplings. Coupling networks are residual networks with weight normalisation, whose features double after each
    squeeze; the log-scale is a learned factor times tanh. Images first pass through the paper's logit.

    The paper uses batch normalisation with running averages in the flow and its networks. Here actnorm replaces both:
    it has no state that differs between training and evaluation, so that the likelihood is a single function.

    Args:
      image_shape: (H, W, C); C is 1 or 3.
      L: number of times the image is halved; by default until its shorter side is 4 (section 4.1).
      width: feature maps of the first residual networks.
      blocks: number of residual blocks per network.
      n_bits: number of modelled bits per colour channel, if `dequantizer` is not an object.
      dequantizer: map from images to real numbers: `uniform` noise (the default), `variational`, or a `Dequantizer`.
      gradient: `reversible` or `stored`.

    Raises:
      ValueError: if an argument is out of range or the image's sides are not multiples of 2^L.
    """
    if L is None:
        L = max(1, (min(image_shape[:2]) // 4).bit_length() - 1) if len(image_shape) == 3 else 1
    at_least("L", L, 1)
    _check_divisible(image_shape, L)

    def couplings(depth: int, partition: partitions.Partition, features: int) -> Steps:
        return Steps(
            depth=depth,
            permutation="none",
            coupling=transforms.AffineExp(),
            partition=partition,
            alternate=True,
            network=networks.Resnet(width=features, blocks=blocks),
        )

    checkerboard, channels = partitions.Checkerboard(), partitions.Channels()

    layers: list[Layer] = [Logit()]
    for level in range(L):
        layers += [
            couplings(3, checkerboard, width * 2**level),
            Squeeze(),
            couplings(3, channels, width * 2 ** (level + 1)),
            Split(learned=False),
        ]
    layers.append(couplings(4, checkerboard, width * 2**L))
    return ModelConfig(
        name="real_nvp",
        image_shape=image_shape,
        layers=tuple(layers),
        dequantizer=_dequantizer(dequantizer, n_bits),
        gradient=gradient,
    )


def nice(
    image_shape: tuple[int, ...] = (28, 28, 1),
    K: int = 4,
    width: int = 1000,
    blocks: int = 5,
    n_bits: int = 8,
    base: str = "logistic",
    *,
    dequantizer: str | Dequantizer | None = None,
    gradient: str = "reversible",
) -> ModelConfig:
    """NICE: additive couplings with deep MLPs and a final scaling (Dinh, Krueger & Bengio 2015, sections 3 and 5.1).

    The couplings alternate between the even and the odd components of the flattened image, as in the paper.

    Args:
      image_shape: (H, W, C), or (D,) for flat vectors of uint8.
      K: number of couplings (paper: 4).
      width: units per hidden layer (paper: 1000 on MNIST).
      blocks: number of hidden layers per MLP (paper: 5 on MNIST).
      n_bits: number of modelled bits per component, if `dequantizer` is not an object.
      base: `logistic` (paper: MNIST) or `normal`.
      dequantizer: map from images to real numbers: `uniform` noise (the default), `variational`, or a `Dequantizer`.
      gradient: `reversible` or `stored`.

    Raises:
      ValueError: if an argument is out of range.
    """
    at_least("K", K, 1)
    flat = len(image_shape) == 1
    if not flat:
        _check_divisible(image_shape, 0)
    steps = Steps(
        depth=K,
        actnorm=False,
        permutation="none",
        coupling=transforms.Additive(),
        partition=partitions.Checkerboard(),
        alternate=True,
        network=networks.Mlp(width=width, blocks=blocks),
    )
    return ModelConfig(
        name="nice",
        image_shape=image_shape,
        layers=(*([] if flat else [Flatten()]), steps, Scale()),
        dequantizer=_dequantizer(dequantizer, n_bits),
        base=base,
        gradient=gradient,
    )


def flow_plus_plus(
    image_shape: tuple[int, int, int] = (32, 32, 3),
    couplings: Sequence[tuple[int, int]] = ((0, 4), (2, 3)),
    width: int = 96,
    blocks: int = 10,
    heads: int = 4,
    dropout: float = 0.2,
    coupling: str | Transform = "mixture_logistic",
    permutation: str = "conv1x1",
    n_bits: int = 8,
    num_classes: int = 0,
    *,
    variant: str = "cifar10",
    conditional: bool | None = None,
    conditional_couplings: bool = False,
    classifier: bool = False,
    dequantizer: str | Dequantizer | None = None,
    gradient: str = "reversible",
) -> ModelConfig:
    """Flow++: couplings with gated convolutions and self-attention (Ho et al. 2019, section 3 and the official code).

    Images first pass through a logit. Each scale has steps of actnorm, 1x1 convolution and coupling, with a squeeze
    between scales and nothing factored out. Couplings split by channels first, then by positions: even and odd columns,
    as in the official code, where the paper says checkerboard.

    Dequantization is variational: couplings that split by columns, with networks of the same kind but fewer blocks,
    which see features of the image (section 3.1).

    The defaults are the paper's for CIFAR-10. The networks have 31,362,416 parameters, as in the official code:
    27,920,088 in the couplings and 3,442,328 in the dequantization. The rest of the official 31,443,440 are elementwise
    normalisations and 1x1 convolutions of each part; here actnorms have two parameters per channel, and the
    dequantization has only couplings. For ImageNet, see the flagfiles `flow_plus_plus_imagenet32` and
    `flow_plus_plus_imagenet64`.

    Args:
      image_shape: (H, W, C); C is 1 or 3.
      couplings: for each scale, the number of couplings that split by channels and of those that split by positions,
        at least one in all.
      width: hidden channels of the coupling networks.
      blocks: number of blocks per coupling network, each of a convolution and an attention.
      heads: number of attention heads.
      dropout: dropout rate of the networks in training.
      coupling: `mixture_logistic` (with 32 components), another of `COUPLINGS`, or a transform.
      permutation: as for `glow`, or `none`.
      n_bits: number of modelled bits per colour channel, if `dequantizer` is not an object.
      num_classes, conditional, conditional_couplings, classifier: as for `glow`; the top prior is learned only for
        labels.
      variant: data set whose details in the official code the networks and the variational dequantization have:
        `cifar10`, with 4 couplings of 2 blocks in the dequantization; `imagenet32`, with 8 of 8, and attention in the
        features too; or `imagenet64`, with 4 of 5 without attention. For ImageNet, a concatenated ELU precedes the last
        convolution of coupling networks, and squeezes are position-major, so that couplings by channels condition the
        lower pixels of each block on the upper ones; `imagenet32` and `imagenet64` differ in the dequantization alone.
      dequantizer: map from images to real numbers: `variational` (the default), `uniform` noise, or a `Dequantizer`.
      gradient: `reversible` or `stored`.

    Raises:
      ValueError: if an argument is out of range or does not fit the image's sides.

    Ho, Chen, Srinivas, Duan & Abbeel 2019, "Flow++", arXiv 1902.00275.
    """
    if not couplings or any(len(pair) != 2 for pair in couplings):
        raise ValueError(f"couplings={couplings!r} must be a pair of numbers for each scale.")
    for pair in couplings:
        for count in pair:
            at_least("couplings", count, 0)
    if not any(sum(pair) for pair in couplings):
        raise ValueError(f"couplings={couplings!r} must have at least one coupling.")
    _check_divisible(image_shape, len(couplings) - 1, "fewer scales")
    one_of("variant", variant, FLOW_PLUS_PLUS_VARIANTS)
    details = _FLOW_PLUS_PLUS[variant]
    if coupling == "mixture_logistic":
        coupling = transforms.MixtureLogistic(components=32)
    coupling = _transform(coupling)
    conditional = _conditional_prior(num_classes, conditional, conditional_couplings)
    network = networks.GatedAttention(
        width=width,
        blocks=blocks,
        heads=heads,
        final_elu=details.final_elu,
        dropout=dropout,
        num_classes=num_classes if conditional_couplings else 0,
    )
    if dequantizer in (None, "variational"):
        dequantizer = dequantization.Variational(
            n_bits=n_bits,
            network=dataclasses.replace(
                network,
                blocks=details.dequantization_blocks,
                heads=heads if details.dequantization_attention else 0,
                image_channels=32,
            ),
            depth=details.dequantization_depth,
            coupling=coupling,
            partition=partitions.Positions(),
            features=dataclasses.replace(details.features, dropout=dropout),
            feature_channels=32,
        )

    layers: list[Layer] = [Logit()]
    for scale, counts in enumerate(couplings):
        if scale:
            layers.append(Squeeze(order=details.squeeze_order))
        for depth, partition in zip(counts, (partitions.Channels(), partitions.Positions()), strict=True):
            if depth:
                layers.append(
                    Steps(
                        depth=depth,
                        network=network,
                        coupling=coupling,
                        permutation=permutation,
                        partition=partition,
                        alternate=True,
                    )
                )
    return ModelConfig(
        name="flow_plus_plus",
        image_shape=image_shape,
        layers=(*layers, *_label_prior(num_classes if conditional else 0)),
        dequantizer=_dequantizer(dequantizer, n_bits),
        num_classes=num_classes,
        classifier=classifier,
        gradient=gradient,
    )


def jet(
    image_shape: tuple[int, int, int] = (64, 64, 3),
    K: int = 32,
    width: int = 512,
    blocks: int = 2,
    heads: int = 8,
    patch_size: int = 4,
    dropout: float = 0.0,
    n_bits: int = 8,
    num_classes: int = 0,
    *,
    conditional: bool | None = None,
    conditional_couplings: bool = False,
    classifier: bool = False,
    dequantizer: str | Dequantizer | None = None,
    gradient: str = "reversible",
) -> ModelConfig:
    """Jet: vision transformers in affine couplings, at one scale (Kolesnikov et al. 2024, section 2, and its code).

    The image, scaled to between -1 and 1, is cut into patches. Each coupling shuffles the channels of the patches in a
    fixed random order and splits them: four couplings by channels, then one by patches (the even or odd ones of a
    checkerboard, columns or rows). There are no actnorms or 1x1 convolutions, and nothing is factored out.

    The authors undo each shuffle after its coupling. Here shuffles accumulate, which gives the same flow for couplings
    by channels; couplings by patches see halves of shuffled patches.

    The published configurations for ImageNet 64x64 have 207,177,216 parameters (the defaults) and 1,019,612,160
    (K = 64, blocks = 5).

    Args:
      image_shape: (H, W, C); sides are even multiples of `patch_size`, C is 1 or 3.
      K: number of couplings.
      width: channels per token.
      blocks: number of blocks per vision transformer.
      heads: number of attention heads.
      patch_size: side of a patch, in pixels; even, as couplings halve the channels of patches.
      dropout: dropout rate of the networks in training.
      n_bits: number of modelled bits per colour channel, if `dequantizer` is not an object.
      num_classes, conditional, conditional_couplings, classifier: as for `glow`; the top prior is learned only for
        labels.
      dequantizer: map from images to real numbers: `uniform` noise (the default), `variational`, or a `Dequantizer`.
      gradient: `reversible` or `stored`.

    Raises:
      ValueError: if an argument is out of range or does not fit the image's sides.

    Kolesnikov, Pinto & Tschannen 2024, "Jet: A Modern Transformer-Based Normalizing Flow", arXiv 2412.15129.
    """
    at_least("K", K, 1)
    at_least("patch_size", patch_size, 1)
    if patch_size % 2:
        raise ValueError(f"patch_size={patch_size} must be even, as couplings halve the channels of patches.")
    _check_divisible(image_shape, 0)
    conditional = _conditional_prior(num_classes, conditional, conditional_couplings)
    network = networks.Vit(
        width=width,
        depth=blocks,
        heads=heads,
        dropout=dropout,
        num_classes=num_classes if conditional_couplings else 0,
    )
    position_kinds = [f"{pattern}{odd}" for pattern in ("checkerboard", "columns", "rows") for odd in ("", "-odd")]
    kinds = [kind for position_kind in position_kinds for kind in (*["channels"] * 4, position_kind)]
    steps = Steps(
        depth=K,
        network=network,
        actnorm=False,
        permutation="shuffle",
        coupling=transforms.AffineSigmoid(),
        partition=partitions.Turns(kinds=tuple(kinds)),
        alternate=True,
    )
    doubled = Scale(initial=2.0, learned=False)
    return ModelConfig(
        name="jet",
        image_shape=image_shape,
        layers=(doubled, Squeeze(factor=patch_size), steps, *_label_prior(num_classes if conditional else 0)),
        dequantizer=_dequantizer(dequantizer, n_bits),
        num_classes=num_classes,
        classifier=classifier,
        gradient=gradient,
    )


def _label_prior(num_classes: int) -> tuple[Layer, ...]:
    """Returns the top prior for `num_classes` labels; no layer for 0."""
    return (TopPrior(learned=False, num_classes=num_classes),) if num_classes else ()


def _dequantizer(dequantizer: str | Dequantizer | None, n_bits: int = 8) -> Dequantizer:
    """Returns the dequantizer, built for `n_bits` if it is given by name or not at all."""
    if isinstance(dequantizer, Dequantizer):
        return dequantizer
    name = "uniform" if dequantizer is None else dequantizer
    one_of("dequantizer", name, tuple(dequantization.NAMED))
    return dequantization.NAMED[name](n_bits=n_bits)


def _glow_layers(
    squeeze: Squeeze,
    *,
    K: int,
    L: int,
    width: int,
    coupling: str | Transform,
    permutation: str,
    learn_top: bool,
    num_classes: int,
    conditional: bool | None,
    conditional_couplings: bool,
    network: Network | None,
    kernels: tuple[int, int, int],
) -> tuple[Layer, ...]:
    """Returns the layers of a Glow whose levels start with `squeeze`; for the other arguments, see `glow`."""
    at_least("K", K, 1)
    coupling = _transform(coupling)
    one_of("permutation", permutation, tuple(name for name in PERMUTATIONS if name != "none"))
    conditional = _conditional_prior(num_classes, conditional, conditional_couplings)
    if network is None:
        labels = num_classes if conditional_couplings else 0
        network = networks.Cnn(width=width, num_classes=labels, kernels=kernels)
    steps = Steps(depth=K, network=network, coupling=coupling, permutation=permutation)
    layers: list[Layer] = []
    for level in range(L):
        layers += [squeeze, steps]
        if level < L - 1:
            layers.append(Split())
    if learn_top or conditional:
        layers.append(TopPrior(learned=learn_top, num_classes=num_classes if conditional else 0))
    return tuple(layers)


def _transform(coupling: str | Transform) -> Transform:
    if not isinstance(coupling, str):
        return coupling
    one_of("coupling", coupling, COUPLINGS)
    return transforms.NAMED[coupling]


def _conditional_prior(num_classes: int, conditional: bool | None, conditional_couplings: bool) -> bool:
    """Returns whether labels condition the top prior; see `glow` for the arguments.

    Raises:
      ValueError: if there are no labels to condition on.
    """
    if conditional is None:
        conditional = num_classes > 0
    if (conditional or conditional_couplings) and not num_classes:
        raise ValueError("A label-conditional prior or coupling needs num_classes of at least 1.")
    return conditional


def _check_divisible(image_shape: tuple[int, ...], levels: int, fewer: str = "a smaller L") -> None:
    """Checks that an image can be squeezed `levels` times.

    Args:
      image_shape: (H, W, C).
      levels: number of squeezes.
      fewer: how to use fewer levels, for the message.

    Raises:
      ValueError: if the image does not have 1 or 3 channels, or a side is not a multiple of 2^levels; the message
        suggests sizes.
    """
    factor = 2**levels
    if len(image_shape) != 3:
        raise ValueError(f"image_shape={tuple(image_shape)!r} must be (height, width, channels).")
    height, width, channels = image_shape
    if channels not in (1, 3):
        raise ValueError(f"image_shape={tuple(image_shape)!r}: images have 1 or 3 channels, not {channels}.")
    if height < 1 or width < 1 or height % factor or width % factor:
        near = [tuple(max(factor, side // factor * factor + up) for side in (height, width)) for up in (0, factor)]
        options = " or ".join(dict.fromkeys(f"{h}x{w}" for h, w in near))
        raise ValueError(
            f"An image of {height}x{width} cannot be squeezed {levels} times: both sides must be multiples of "
            f"2^L = {factor}. {options} would do, or {fewer}."
        )


def _check_length(shape: tuple[int, ...], levels: int, squeeze: int) -> None:
    """Checks that a sequence can be squeezed `levels` times by `squeeze`, with its channels halved in between.

    Raises:
      ValueError: if the shape is not (T, C), T is not a multiple of squeeze^levels, or the channels cannot be halved;
        the message suggests valid values.
    """
    factor = squeeze**levels
    if len(shape) != 2:
        raise ValueError(f"shape={tuple(shape)!r} must be (length, channels).")
    length, channels = shape
    if channels < 1:
        raise ValueError(f"shape={tuple(shape)!r}: a sequence has at least 1 channel.")
    if length < 1 or length % factor:
        near = dict.fromkeys(max(factor, length // factor * factor + up) for up in (0, factor))
        raise ValueError(
            f"A sequence of length {length} cannot be squeezed {levels} times by {squeeze}: its length must be a "
            f"multiple of squeeze^L = {factor}. {' or '.join(map(str, near))} would do, or a smaller L."
        )
    if squeeze % 2 and channels % 2**levels:
        raise ValueError(
            f"squeeze={squeeze} leaves an odd number of channels of {channels}, and each of {levels} levels halves "
            "them. An even squeeze would do."
        )
