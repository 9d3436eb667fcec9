"""Paths between latents."""

import numpy as np
import pytest

from glow_tf.analysis.codec import Codec
from glow_tf.analysis.interpolation import KINDS, interpolate, interpolate_images
from tests.analysis import models
from tests.marks import mostly_slow

A, B = np.array([2.0, 0.0, 0.0]), np.array([0.0, 2.0, 0.0])


def test_a_straight_path_by_hand():
    np.testing.assert_allclose(interpolate(A, B, [0, 0.25, 1]), [[2, 0, 0], [1.5, 0.5, 0], [0, 2, 0]])


def test_a_path_along_the_sphere_by_hand():
    path = interpolate(A, B, np.linspace(0, 1, 7), "spherical")
    angles = np.pi / 2 * np.linspace(0, 1, 7)
    np.testing.assert_allclose(path, 2 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1), atol=1e-12)


@pytest.mark.parametrize("end", [3 * A, -A, 0 * A])
def test_where_there_is_no_plane_to_turn_in_the_path_is_straight(end):
    np.testing.assert_allclose(interpolate(A, end, [0.5], "spherical"), [(A + end) / 2], atol=1e-9)


@pytest.mark.parametrize(
    ("name", "kind"),
    mostly_slow(
        [(name, kind) for name in models.CONFIGS for kind in KINDS], [("grey", "linear"), ("conditional", "spherical")]
    ),
)
def test_the_ends_are_the_images_themselves(name, kind):
    flow, pictures = models.flow(name), models.images(3, name)
    path = interpolate_images(Codec(flow), pictures, 4, kind, labels=models.labels(3, name))
    assert path.shape == (9, *flow.config.image_shape)
    np.testing.assert_array_equal(path[::4], models.quantized(pictures, flow.config.n_bits))


@pytest.mark.parametrize("kind", mostly_slow(KINDS, ["spherical"]))
def test_in_between_is_what_the_latents_in_between_decode_to(kind):
    flow, pictures = models.flow(), models.images(2)
    codec = Codec(flow)
    z = codec.encode(pictures)
    path = interpolate_images(codec, pictures, 2, kind)
    middle = z.mean(axis=0)
    if kind == "spherical":
        cosine = z[0] @ z[1] / np.linalg.norm(z[0]) / np.linalg.norm(z[1])
        middle /= np.cos(np.arccos(cosine) / 2)
    np.testing.assert_array_equal(path[1], codec.decode(middle[np.newaxis])[0])


def test_a_path_needs_two_images_and_a_step():
    codec = Codec(models.flow())
    for count, steps in ((1, 4), (2, 0)):
        with pytest.raises(ValueError, match="needs two images and a step"):
            interpolate_images(codec, models.images(count), steps)
    with pytest.raises(ValueError, match="kind='cubic'"):
        interpolate(A, B, [0.5], "cubic")


def test_images_on_the_way_have_the_label_of_the_nearer_end():
    """In the middle, the label is that of the start. The rule holds between any two successive images."""

    class Told(Codec):
        def decode(self, z, labels=None):
            self.labels = labels
            return super().decode(z, labels)

    codec = Told(models.flow("conditional"))
    interpolate_images(codec, models.images(3, "conditional"), 2, labels=[1, 2, 0])
    np.testing.assert_array_equal(codec.labels, [1, 1, 2, 2, 0])
    interpolate_images(codec, models.images(2, "conditional"), 3, labels=[1, 2])
    np.testing.assert_array_equal(codec.labels, [1, 1, 2, 2])
