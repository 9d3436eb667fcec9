"""Conversion of pictures of every kind to the requested shape."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from glow_tf.data import DataError, load_images
from glow_tf.data.images import decode_file, fit_pixels, parse_channels, parse_size


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_an_image_of_the_right_shape_is_untouched():
    pixels = noise(6, 5, 3)
    np.testing.assert_array_equal(fit_pixels(pixels, (6, 5, 3)), pixels)


def test_crop_without_resizing_copies_the_centre():
    pixels = noise(8, 13, 3)
    np.testing.assert_array_equal(fit_pixels(pixels, (8, 8, 3)), pixels[:, 2:10])


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_shrinking_by_a_whole_factor_averages_squares(factor):
    pixels = noise(8 * factor, 8 * factor, 3)
    means = pixels.reshape(8, factor, 8, factor, 3).mean(axis=(1, 3))
    # Pillow rounds after each of its two passes.
    np.testing.assert_allclose(fit_pixels(pixels, (8, 8, 3)), means, atol=1.0)


def test_shrinking_is_antialiased():
    """One-pixel stripes become grey, not stripes of another width."""
    stripes = np.zeros((100, 100, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = fit_pixels(stripes, (30, 30, 3))[:, 2:-2].astype(int)
    assert np.abs(shrunk - 127).max() < 40


@pytest.mark.parametrize(("height", "width"), [(40, 90), (90, 40)])
def test_shorter_side_is_matched_and_the_centre_kept(height, width):
    pixels = np.zeros((height, width, 3), np.uint8)
    top, left = (height - 40) // 2, (width - 40) // 2
    pixels[top : top + 40, left : left + 40] = 200
    np.testing.assert_array_equal(fit_pixels(pixels, (20, 20, 3)), 200)


def test_enlarging_keeps_a_flat_colour():
    np.testing.assert_array_equal(fit_pixels(np.full((3, 3, 3), 77, np.uint8), (9, 7, 3)), 77)


def test_transparent_colours_do_not_bleed_into_edges():
    """Fully transparent red next to opaque black shrinks to a grey without red."""
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[:, 0] = (255, 0, 0, 0)
    pixels[:, 1] = (0, 0, 0, 255)
    np.testing.assert_allclose(fit_pixels(pixels, (1, 1, 3))[0, 0], 127.5, atol=1)


def test_grey_and_colour_convert_into_each_other():
    grey = noise(4, 4, 1)
    np.testing.assert_array_equal(fit_pixels(grey, (4, 4, 3)), np.repeat(grey, 3, axis=2))
    green = np.zeros((4, 4, 3), np.uint8)
    green[..., 1] = 255
    # Rec. 601 luma of pure green: 0.587 * 255.
    np.testing.assert_allclose(fit_pixels(green, (4, 4, 1)), 150, atol=1)


def write(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return str(path)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_are_read_exactly(tmp_path, suffix):
    pixels = noise(6, 6, 3)
    options = {"lossless": True} if suffix == "webp" else {}
    path = write(tmp_path / f"a.{suffix}", pixels, **options)
    np.testing.assert_array_equal(decode_file(path, (6, 6, 3)), pixels)


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    deep = np.array([[0, 257], [32896, 65535]], np.uint16)
    path = write(tmp_path / "a.png", deep)
    np.testing.assert_array_equal(decode_file(path, (2, 2, 1))[..., 0], [[0, 1], [128, 255]])


def test_thirty_two_bits_are_refused(tmp_path):
    """Their range is not known, and read as 16 bits they are black or white."""
    path = write(tmp_path / "a.tif", np.arange(0, 64 << 10, 1 << 10, dtype=np.int32).reshape(8, 8))
    with pytest.raises(ValueError, match="pixels have 32 bits; convert the file to 8 or 16 bits"):
        decode_file(path, (8, 8, 1))


def png16(path, pixels):
    """Writes uint16 [H, W, 1 to 4] as a 16-bit PNG, which Pillow can only do for grey images."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    return str(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_ten_and_twelve_bits_stored_as_sixteen_are_not_read_as_black(tmp_path, channels):
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8, 1).repeat(channels, axis=2)
    for bits in (10, 12):
        path = png16(tmp_path / f"{bits}.png", ramp << (bits - 6))
        with pytest.raises(ValueError, match="no value above 4095.* convert it to 8"):
            decode_file(path, (8, 8, 3))
    path = png16(tmp_path / "16.png", ramp << 10)
    np.testing.assert_allclose(decode_file(path, (8, 8, 1)), ramp[..., :1] * 4, atol=1)
    assert not decode_file(png16(tmp_path / "black.png", ramp * 0), (8, 8, 3)).any()


def test_twelve_bits_that_say_so_are_scaled(tmp_path):
    """A 12-bit TIFF file of four pixels, two in three bytes: 0, 4095, 2048 and 1024."""
    tags = [(256, 4, 2), (257, 4, 2), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 6)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    pixels = bytes.fromhex("000fff800400")
    content = b"II*\0" + struct.pack("<I", 14) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(decode_file(str(tmp_path / "a.tif"), (2, 2, 1))[..., 0], [[0, 255], [128, 64]])


def test_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    pixels = decode_file(str(tmp_path / "a.gif"), (4, 4, 3))
    np.testing.assert_array_equal(pixels, np.broadcast_to([255, 0, 0], (4, 4, 3)))


def test_cmyk_is_converted(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    pixels = decode_file(str(tmp_path / "a.jpg"), (8, 8, 3))
    np.testing.assert_allclose(pixels, np.broadcast_to([255, 0, 0], (8, 8, 3)), atol=3)


def test_palette_transparency_goes_on_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([0, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    picture.save(tmp_path / "a.png", transparency=0)
    pixels = decode_file(str(tmp_path / "a.png"), (1, 2, 3))
    np.testing.assert_array_equal(pixels, [[[255, 255, 255], [0, 0, 255]]])


def test_exif_orientation_is_applied(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # Displayed rotated by 90 degrees clockwise.
    path = write(tmp_path / "a.png", pixels, exif=exif)
    turned = decode_file(path, (16, 8, 3))
    np.testing.assert_array_equal(turned, np.rot90(pixels, -1))


def test_large_jpeg_keeps_its_content(tmp_path):
    rows = np.linspace(0, 255, 1024).astype(np.uint8)
    pixels = np.broadcast_to(rows[:, None, None], (1024, 1024, 3))
    path = write(tmp_path / "a.jpg", np.ascontiguousarray(pixels), quality=95)
    expected = rows.reshape(16, 64).mean(axis=1)
    np.testing.assert_allclose(decode_file(path, (16, 16, 3))[:, 5, 1], expected, atol=3)


@pytest.mark.parametrize(("given", "parsed"), [(None, None), (32, (32, 32)), ((24, 40), (24, 40)), ([16], (16, 16))])
def test_sizes(given, parsed):
    assert parse_size(given) == parsed


@pytest.mark.parametrize("size", [0, -4, (3, 0), (1, 2, 3), 3.5, "32"])
def test_impossible_sizes_are_named(size):
    with pytest.raises(DataError, match="image_size"):
        parse_size(size)


def test_impossible_channels_are_named():
    with pytest.raises(DataError, match="channels"):
        parse_channels(4, default=3)


def test_files_are_read_in_their_order(tmp_path):
    pixels = noise(3, 8, 8, 3)
    for name, picture in zip("abc", pixels, strict=True):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    loaded = load_images([tmp_path / f"{name}.png" for name in "cab"], (8, 8, 3))
    np.testing.assert_array_equal(loaded, pixels[[2, 0, 1]])


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nowhere.png", "No such file"), ("text.png", "cannot identify"), ("tiny.png", "smaller than 8x8")],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, name, reason):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (4, 9)).save(tmp_path / "tiny.png")
    with pytest.raises(DataError, match=f"{name} cannot be used as a picture: .*{reason}"):
        load_images([tmp_path / name], (8, 8, 3))
