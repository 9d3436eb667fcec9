"""Options of loading a data set, which all kinds of sources share."""

import dataclasses

from glow_tf.data import images
from glow_tf.data.source import DataError, OwnTestSplitError


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of a data set: the arguments of `load_source` besides the name; None stands for a default.

    Attributes:
        data_dir: folder or file of the data.
        image_size: H = W, or (H, W), in pixels.
        channels: 1 (grey) or 3 (RGB).
        test_fraction: share of the images to hold out for the test split, in (0, 1).
        test_size: number of images to hold out instead of a share.
        crop_from: side of the squares that crops of `image_size` are taken from, in pixels.
        upscale: whether images that are too small are enlarged. By default, those of a folder are
            not, but left out; those of other data, which have one size or come as they are, are.

    Raises:
        DataError: if both a share and a number are to be held out.
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
            size: (H, W) if `image_size` is None.
            channels: 1 or 3, if `channels` is None.

        Raises:
            DataError: if `image_size`, `channels` or `crop_from` is impossible.
        """
        image_shape = (*(images.parse_size(self.image_size) or size), images.parse_channels(self.channels, channels))
        return image_shape, images.stored_shape(image_shape, self.crop_from)

    def check_large_enough(self, name: str, size: tuple[int, int], stored_shape: tuple[int, int, int]) -> None:
        """Checks that images called `name`, all of `size`, (H, W), need not be enlarged where they must not be.

        Raises:
            DataError: if they are smaller than `stored_shape`, and `upscale` is False.
        """
        if self.upscale is False and not images.covers(size, stored_shape):
            raise DataError(
                f"{name}: the images are {images.size_text(size)}, smaller than {images.size_text(stored_shape)}; "
                "--upscale enlarges them, or set a smaller --image_size."
            )

    def check_nothing_held_out(self, name: str) -> None:
        """Checks that no images are to be held out of data that has a test split of its own, called `name`.

        Raises:
            OwnTestSplitError: if `test_fraction` or `test_size` is set.
        """
        for option in ("test_fraction", "test_size"):
            value = getattr(self, option)
            if value is not None:
                raise OwnTestSplitError(f"{name} has a test split of its own; leave out {option}={value!r}.")
