"""Data loading options, shared by all kinds of sources."""

import dataclasses

from glow_tf.data import images
from glow_tf.data.source import DataError, HeldOutError


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options for loading a data set: the arguments of `load_source` except the name; None stands for a default.

    Attributes:
      data_dir: folder or file of the data.
      image_size: H = W, or (H, W), in pixels.
      channels: 1 (grey) or 3 (RGB).
      test_fraction: fraction of the images to hold out for the test split, in (0, 1).
      test_size: number of images to hold out instead of a fraction.
      crop_from: side of the squares that crops of `image_size` are taken from, in pixels.
      upscale: whether to enlarge images that are too small. By default, those in a folder are left
        out, and those in other data, which have one size or come as they are, are enlarged.

    Raises:
      DataError: if both `test_fraction` and `test_size` are set.
    """

    data_dir: str | None = None
    image_size: int | tuple[int, int] | None = None
    channels: int | None = None
    test_fraction: float | None = None
    test_size: int | None = None
    crop_from: int | None = None
    upscale: bool | None = None

    def __post_init__(self):
        if self.test_fraction is not None and self.test_size is not None:
            raise DataError(
                f"test_fraction={self.test_fraction!r} and test_size={self.test_size!r} both say how many images to "
                "hold out; set one of them."
            )

    def shapes(self, size: tuple[int, int] | None, channels: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Returns the `image_shape` and the `stored_shape` of a source.

        Args:
          size: default for `image_size`, (H, W); None if `image_size` is set.
          channels: default for `channels`, 1 or 3.

        Raises:
          DataError: if `image_size`, `channels` or `crop_from` is invalid.
        """
        image_shape = (*(images.parse_size(self.image_size) or size), images.parse_channels(self.channels, channels))
        return image_shape, images.stored_shape(image_shape, self.crop_from)

    def check_large_enough(self, name: str, size: tuple[int, int], stored_shape: tuple[int, int, int]) -> None:
        """Checks that images of `size`, (H, W), need not be enlarged if `upscale` is False; `name` is for errors.

        Raises:
          DataError: if they are smaller than `stored_shape` and `upscale` is False.
        """
        if self.upscale is False and not images.covers(size, stored_shape):
            raise DataError(
                f"{name}: the images are {images.size_text(size)}, smaller than {images.size_text(stored_shape)}; "
                "--upscale enlarges them, or set a smaller --image_size."
            )

    def check_nothing_held_out(self, name: str) -> None:
        """Checks that no images are to be held out of data with its own test split; `name` is for errors.

        Raises:
          HeldOutError: if `test_fraction` or `test_size` is set.
        """
        for option in ("test_fraction", "test_size"):
            value = getattr(self, option)
            if value is not None:
                raise HeldOutError(f"{name} has a test split of its own; leave out {option}={value!r}.")
