"""Image grids and the PNG files they are written to."""

import numpy as np
import pytest
from PIL import Image

from glow_tf.analysis.grid import image_grid, labelled_grid, readable_scale, save_gif, save_png


def images(count, height=2, width=3, channels=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 250, [count, height, width, channels], np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_positions_by_hand(channels):
    pictures = images(5, channels=channels)
    grid = image_grid(pictures, columns=3)
    # Two rows of 2 pixels and three columns of 3, with borders of 1 around each.
    assert grid.shape == (7, 13, channels)
    assert grid.dtype == np.uint8
    covered = np.zeros([7, 13], bool)
    for picture, (top, left) in zip(pictures, [(1, 1), (1, 5), (1, 9), (4, 1), (4, 5)], strict=True):
        np.testing.assert_array_equal(grid[top : top + 2, left : left + 3], picture)
        covered[top : top + 2, left : left + 3] = True
    assert np.all(grid[~covered] == 255)


@pytest.mark.parametrize(
    ("count", "columns", "shape"),
    [(1, None, (4, 5)), (4, None, (7, 9)), (5, None, (7, 13)), (7, None, (10, 13)), (3, 10, (4, 13)), (3, 1, (10, 5))],
)
def test_columns(count, columns, shape):
    assert image_grid(images(count), columns).shape[:2] == shape


@pytest.mark.parametrize("border", [0, 2])
def test_border(border):
    pictures = images(2)
    grid = image_grid(pictures, border=border)
    assert grid.shape == (2 + 2 * border, 6 + 3 * border, 3)
    np.testing.assert_array_equal(grid[border : border + 2, border : border + 3], pictures[0])


def test_scale_enlarges_each_pixel():
    pictures = images(2)
    small, large = image_grid(pictures), image_grid(pictures, scale=3)
    assert large.shape == (small.shape[0] * 3, small.shape[1] * 3, 3)
    for dy in range(3):
        for dx in range(3):
            np.testing.assert_array_equal(large[dy::3, dx::3], small)


@pytest.mark.parametrize("shape", [(0, 2, 2, 3), (2, 2, 3), (4,)])
def test_what_is_no_batch_of_images(shape):
    with pytest.raises(ValueError, match=r"\[N, H, W, C\]"):
        image_grid(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("height", "scale"), [(8, 8), (28, 2), (32, 2), (64, 1), (256, 1)])
def test_readable_scale(height, scale):
    assert readable_scale(height) == scale


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_pillow_reads_the_png(tmp_path, channels, mode):
    (picture,) = images(1, channels=channels)
    save_png(picture, tmp_path / "a" / "b" / "picture.png")
    with Image.open(tmp_path / "a" / "b" / "picture.png") as file:
        assert (file.format, file.mode, file.size) == ("PNG", mode, (3, 2))
        np.testing.assert_array_equal(np.asarray(file).reshape(picture.shape), picture)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "picture.png"
    first, second = images(2)
    save_png(first, str(path))
    with pytest.raises(Exception, match="channels"):
        save_png(np.zeros([2, 2, 7], np.uint8), path)
    with Image.open(path) as file:
        np.testing.assert_array_equal(np.asarray(file), first)
    save_png(second, path)
    with Image.open(path) as file:
        np.testing.assert_array_equal(np.asarray(file), second)
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_labelled_grid_shows_every_image_in_its_place(channels):
    pictures = images(6, 4, 5, channels).reshape(2, 3, 4, 5, channels)
    plain = labelled_grid(pictures, scale=3)
    named = labelled_grid(pictures, rows=["one", "two"], columns=["a", "b", "c"], title="All of them", scale=3)
    for grid in (plain, named):
        assert grid.dtype == np.uint8 and grid.shape[2] == 3
        places = [[place_of(grid, picture.repeat(3, axis=0).repeat(3, axis=1)) for picture in row] for row in pictures]
        tops, lefts = np.array(places).transpose(2, 0, 1)
        # One top per row and one left side per column, in order.
        assert np.all(tops == tops[:, :1]) and np.all(lefts == lefts[:1])
        assert tops[0, 0] < tops[1, 0] and np.all(np.diff(lefts[0]) >= 15)
    # The names are to the left of the pictures and above them.
    assert named.shape[0] > plain.shape[0] and named.shape[1] > plain.shape[1]
    top, left = place_of(named, pictures[0, 0].repeat(3, axis=0).repeat(3, axis=1))
    assert named[:top].min() < 100 and named[top:, : left - 2].min() < 100


def place_of(grid, picture):
    """The position of a picture in a grid, (top, left)."""
    height, width = picture.shape[:2]
    for top in range(grid.shape[0] - height + 1):
        for left in range(grid.shape[1] - width + 1):
            if np.all(grid[top : top + height, left : left + width] == picture):
                return top, left
    raise AssertionError("The picture is not there.")


def test_names_in_several_scripts():
    # A font draws the same box for every letter that it lacks.
    drawn = {labelled_grid(np.zeros([1, 1, 16, 16, 3], np.uint8), rows=[name]).tobytes() for name in "ÄéñßłЖжΩ"}
    assert len(drawn) == 8


@pytest.mark.parametrize("name", ["a name that is far wider than its picture", "Größenverhältnis der Gesichter"])
def test_wide_names_fit(name):
    grid = labelled_grid(np.full([1, 2, 24, 8, 3], 255, np.uint8), rows=[name], columns=["a", name], scale=1)
    reverse = labelled_grid(np.full([1, 2, 24, 8, 3], 255, np.uint8), columns=[name, "a"], title=name, scale=1)
    for picture in (grid, reverse):
        edges = (picture[:, 0], picture[:, -1], picture[0], picture[-1])
        assert picture.min() < 50 and all(edge.min() == 255 for edge in edges)


def test_small_pictures_are_enlarged_to_be_readable():
    assert labelled_grid(np.zeros([1, 1, 16, 16, 3], np.uint8)).shape[0] > 96
    assert labelled_grid(np.zeros([1, 1, 256, 256, 3], np.uint8)).shape[0] < 300


@pytest.mark.parametrize(
    ("shape", "names", "message"),
    [((2, 3, 4, 4), {}, r"\[R, C, H, W, channels\]"), ((1, 2, 4, 4, 3), {"columns": ["a"]}, "2 columns have 1 names")],
)
def test_what_is_no_labelled_grid(shape, names, message):
    with pytest.raises(ValueError, match=message):
        labelled_grid(np.zeros(shape, np.uint8), **names)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_shows_its_frames_in_order_and_again(tmp_path, channels):
    levels = [0, 60, 120, 180, 240]
    frames = np.stack([np.full([8, 8, channels], level, np.uint8) for level in levels])
    save_gif(frames, tmp_path / "new" / "path.gif", seconds=0.1)
    with Image.open(tmp_path / "new" / "path.gif") as file:
        assert (file.format, file.n_frames, file.info["loop"], file.info["duration"]) == ("GIF", 5, 0, 100)
        for i, level in enumerate(levels):
            file.seek(i)
            assert np.abs(np.asarray(file.convert("RGB")).astype(int) - level).max() <= 4
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["path.gif"]
