"""Pictures as HTML."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from glow_tf.demo import html


@pytest.mark.parametrize("width,room,shown", [(16, 144, 144), (16, 150, 144), (16, 16, 16), (16, 12, 12), (64, 99, 64)])
def test_enlargement_is_by_a_whole_factor(width, room, shown):
    assert html.shown_width(width, room) == shown


@pytest.mark.parametrize("channels", [1, 3])
def test_the_address_is_the_picture(channels):
    image = np.random.default_rng(0).integers(0, 256, [5, 7, channels], np.uint8)
    head, _, data = html.source(image).partition(",")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(pixels.reshape(image.shape), image)


def test_only_what_is_not_shrunk_is_sharp():
    image = np.zeros([16, 16, 3], np.uint8)
    assert 'class="sharp"' in html.picture(image, 32, "")
    assert 'class="sharp"' not in html.picture(image, 8, "")


def test_names_of_files_are_no_html():
    assert "<script>" not in html.note("<script>.png cannot be read.")
    assert html.note("") == ""
