"""Preprocessing of each data set in the papers and their code: size, crops, augmentation, bit depth.

Each entry cites its source. "Glow's code" is github.com/openai/glow; its commands are in its README. Where code and
paper differ, the recipe follows the code, which produced the published figures. The code's shifts are uniform in +-10%
of the side, 3.2 pixels at 32x32, with interpolation; here they are whole pixels, at most 3.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Preprocessing of a data set's images; by default, they are unchanged.

    Attributes:
      image_size: side of the model's images, or (H, W), in pixels; None for the data's own.
      n_bits: bits per channel of the model's images.
      flip: whether training flips images left to right at random.
      shift: largest random shift along either axis in training, in pixels.
      crop_from: length in pixels that the shorter side is resized to before images are cropped to `image_size`, at
        random in training and at the centre in evaluation; None for no crops.
      center_crop: side in pixels of the central square that is first cropped from the original; None for no crop.
      pad: width in pixels of the black border that is first added to the original.
      test_size: number of images to hold out of a data set without a test split; None for a fraction.
      source: source of these settings.
    """

    image_size: int | tuple[int, int] | None = None
    n_bits: int = 8
    flip: bool = False
    shift: int = 0
    crop_from: int | None = None
    center_crop: int | None = None
    pad: int = 0
    test_size: int | None = None
    source: str = "no recipe: images as they are"


_DIGITS = Recipe(
    image_size=32,
    pad=2,
    shift=3,
    source="Glow's code, get_mnist_cifar.py: padded to 32x32, shifted by up to 10% at --dal=1, the default; "
    "there repeated to 3 channels, here 1",
)
_LSUN = Recipe(
    image_size=64,
    crop_from=96,
    source="Glow's code, README and get_data.py, problem lsun_realnvp: shorter side 96, random 64x64 crops, no flips; "
    "it crops at random in evaluation too, here at the centre. RealNVP, section 4.1, also flips",
)
_IMAGENET = Recipe(source="Glow's code, problem imagenet-oord, and RealNVP, section 4.1: as they are, 8 bits")

_RECIPES = {
    "cifar10": Recipe(
        image_size=32,
        shift=3,
        source="Glow's code, get_mnist_cifar.py: shifted by up to 10% at --dal=1, the default, and no flips, 8 bits "
        "(5 for the class-conditional samples). RealNVP, section 4.1, flips instead",
    ),
    "mnist": _DIGITS,
    "fashion_mnist": dataclasses.replace(_DIGITS, source=f"in neither paper nor code; as mnist ({_DIGITS.source})"),
    "svhn_cropped": Recipe(image_size=32, source="NICE, section 5.1: as they are, without augmentation"),
    "celeb_a": Recipe(
        image_size=64,
        center_crop=148,
        flip=True,
        source="RealNVP, section 4.1: central 148x148 resized to 64x64, flips (its code cuts 5 pixels lower)",
    ),
    "celeb_a_hq": Recipe(
        n_bits=5,
        test_size=3000,
        source="Glow, section 6, and Glow's code, README and generate.py: 256x256, 5 bits, 27,000 + 3,000 images, "
        "no augmentation; which 3,000 is not recorded",
    ),
    # The papers' likelihoods are on this ImageNet, whose files image-net.org no longer offers...
    "downsampled_imagenet": _IMAGENET,
    # ... and not on this one, which has labels; it is resized differently, and its figures are lower.
    "imagenet_resized": dataclasses.replace(
        _IMAGENET,
        source="as downsampled_imagenet, which is the papers' ImageNet (Glow's code, problem imagenet-oord); figures "
        "on this one, resized with another filter, do not compare with theirs",
    ),
    "lsun/bedroom": _LSUN,
    "lsun/tower": _LSUN,
    "lsun/church_outdoor": _LSUN,
    "oxford_flowers102": Recipe(image_size=64, source="in neither paper nor code; 64x64 because its sizes differ"),
}


def recipe(dataset_name: str) -> Recipe:
    """Returns the recipe for a data set.

    Args:
      dataset_name: the name it is loaded by, with or without config and version, such as "lsun/bedroom",
        "imagenet_resized/64x64:0.1.0" or "folder".

    Returns:
      The recipe; the neutral one, `Recipe()`, for data sets that have none.
    """
    full_name = dataset_name.strip().split(":")[0]
    base_name = full_name.split("/")[0]
    return _RECIPES.get(full_name) or _RECIPES.get(base_name) or Recipe()
