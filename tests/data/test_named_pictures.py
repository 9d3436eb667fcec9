"""Pictures given by name, and folders of pictures."""

import numpy as np
import pytest
from PIL import Image

from glow_tf.data import DataError, batches_with_rows, load_images, picture_source

SHAPE = (8, 6, 3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album" / "b").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    rng = np.random.default_rng(0)
    for name, size in {"one.png": (8, 6), "album/z.jpg": (30, 20), "album/b/a.png": (9, 6), "tiny.png": (4, 4)}.items():
        Image.fromarray(rng.integers(0, 256, [*size, 3], np.uint8)).save(tmp_path / name)
    return tmp_path


def scored(source):
    """Returns the names, pixels and labels of the images that are read."""
    batches = list(batches_with_rows(source, "test", 2))
    names = [source.row_names("test")[row] for batch in batches for row in batch["rows"]]
    return names, *(np.concatenate([batch[key] for batch in batches]) for key in ("images", "labels"))


def test_files_and_folders_in_their_order(folder):
    names, pixels, labels = scored(picture_source(["one.png", "album", "one.png"], SHAPE))
    assert names == ["one.png", "album/b/a.png", "album/z.jpg", "one.png"]
    np.testing.assert_array_equal(pixels, load_images(names, SHAPE))
    assert labels.tolist() == [0, 0, 0, 0]


def test_all_have_the_label(folder):
    assert scored(picture_source(["album"], SHAPE, label=2, num_classes=3))[2].tolist() == [2, 2]


def test_in_folders_what_cannot_be_used_is_left_out(folder):
    (folder / "album" / "broken.png").write_text("no picture")
    (folder / "tiny.png").rename(folder / "album" / "tiny.png")
    source = picture_source(["album"], SHAPE)
    assert scored(source)[0] == ["album/b/a.png", "album/z.jpg"]
    assert source.skipped.keys() == {"album/broken.png", "album/tiny.png"}
    assert source.skipped["album/tiny.png"] == "smaller than 8x6: 4x4"


def test_exact_sizes(folder, monkeypatch):
    assert scored(picture_source(["one.png"], SHAPE, exact=True))[0] == ["one.png"]
    with pytest.raises(DataError, match=r"album/b/a\.png \(9x6, and --exact takes 8x6 alone\), album/z\.jpg \(30x20,"):
        picture_source(["album"], SHAPE, exact=True)
    # Stored as 6x8 and displayed as 8x6.
    Image.open("one.png").rotate(90, expand=True).save("turned.jpg", exif=_on_its_side())
    assert scored(picture_source(["turned.jpg"], SHAPE, exact=True))[0] == ["turned.jpg"]
    # Only those of the right size are decoded.
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(DataError, match=r"album/z\.jpg \(30x20, and --exact takes 8x6 alone\)"):
        picture_source(["album/z.jpg"], SHAPE, exact=True)


def test_central_crops_of_larger_squares_and_enlarged_pictures(folder):
    """As in evaluation after a training on random crops."""
    for load in (load_images, lambda *given, **how: scored(picture_source(*given, **how))[1]):
        (large,) = load(["album/z.jpg"], (20, 20, 3))
        (found,) = load(["album/z.jpg"], SHAPE, crop_from=20)
        np.testing.assert_array_equal(found, large[6:14, 7:13])
        assert (load(["tiny.png"], SHAPE, upscale=True) == 0).mean() < 0.5
        with pytest.raises(DataError, match="smaller than 20x20: 8x6"):
            load(["one.png"], SHAPE, crop_from=20)


def _on_its_side():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["one.png", "x.png", "y"], "--images: x.png, y are not there"),
        (["one.png", "x.png"], "--images: x.png is not there"),
        (["empty"], "--images=empty holds no images"),
        (["one.png", "tiny.png", "notes.txt"], r"tiny.png \(smaller than 8x6: 4x4\), notes.txt \(Unidentified"),
    ],
)
def test_what_cannot_be_used_is_named(folder, paths, message):
    (folder / "notes.txt").write_text("milk, eggs")
    with pytest.raises(DataError, match=message):
        picture_source(paths, SHAPE)
