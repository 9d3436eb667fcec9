"""Pictures that users provide, and those that the page starts with."""

import numpy as np
import pytest
from PIL import Image

from glow_tf.data import DataError
from glow_tf.demo import examples
from tests.demo.models import loaded
from tests.marks import slow


def saved_picture(path, pixels):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def test_the_centre_is_averaged(tmp_path):
    """Of 16x24 pixels, the central 16x16 are kept, and each 2x2 block becomes one pixel."""
    pixels = np.random.default_rng(0).integers(0, 256, [16, 24, 3])
    found = examples.read_picture(saved_picture(tmp_path / "wide.png", pixels), (8, 8, 3))
    expected = pixels[:, 4:20].reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
    # Pillow rounds twice: along rows, then along columns.
    np.testing.assert_allclose(found, expected, atol=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (301, 200)])
def test_any_size_will_do(tmp_path, size, channels):
    path = saved_picture(tmp_path / "plain.png", np.full([*size, 3], 90))
    np.testing.assert_array_equal(examples.read_picture(path, (8, 8, channels)), np.full([8, 8, channels], 90))


@pytest.mark.parametrize(
    ("height", "width", "shape", "said"),
    [
        (16, 24, (8, 8, 3), "33% of the width is left out, at the left and right"),
        (32, 8, (8, 8, 3), "75% of the height is left out, at the top and bottom"),
        (24, 24, (8, 4, 1), "50% of the width"),
        (200, 201, (8, 8, 3), ""),
        (3, 3, (8, 8, 3), ""),
    ],
)
def test_what_is_cut_off_is_said(tmp_path, height, width, shape, said):
    path = saved_picture(tmp_path / "a.png", np.zeros([height, width, 3]))
    found = examples.cropping(path, shape)
    assert said in found and bool(said) == bool(found)


def test_what_is_cut_off_a_picture_that_lies_on_its_side(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 8
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=turned)
    assert "50% of the height" in examples.cropping(tmp_path / "a.jpg", (8, 8, 3))


def test_pictures_are_cropped_as_in_training(tmp_path):
    """The central 24x24 is halved to 12x12, of which the central 8x8 is kept: 64 of 288 squares of 2x2."""
    pixels = np.random.default_rng(0).integers(0, 256, [24, 48, 3])
    path = saved_picture(tmp_path / "wide.png", pixels)
    found = examples.read_picture(path, (8, 8, 3), crop_from=12)
    expected = pixels[4:20, 16:32].reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
    # Pillow rounds twice: along rows, then along columns.
    np.testing.assert_allclose(found, expected, atol=1)
    assert "22% of the picture is left" in examples.cropping(path, (8, 8, 3), 12)
    assert examples.cropping(saved_picture(tmp_path / "a.png", pixels[:, :24]), (12, 12, 3), 12) == ""


def test_transparency_is_white(tmp_path):
    path = saved_picture(tmp_path / "clear.png", np.zeros([4, 4, 4]))
    assert examples.read_picture(path, (8, 8, 3)).min() == 255


def test_what_is_no_picture(tmp_path):
    (tmp_path / "notes.png").write_text("milk, eggs")
    with pytest.raises(DataError, match="notes.png cannot be read as a picture"):
        examples.read_picture(tmp_path / "notes.png", (8, 8, 3))


def test_files_and_folders(tmp_path):
    (tmp_path / "more").mkdir()
    for i, name in enumerate(["a.png", "more/b.png", "more/c.PNG", "more/notes.txt"]):
        if name.endswith("txt"):
            (tmp_path / name).write_text("")
        else:
            saved_picture(tmp_path / name, np.full([9, 9, 3], i))
    found = examples.load_examples([str(tmp_path / "a.png"), str(tmp_path / "more")], loaded("glow"))
    assert [int(example.image.max()) for example in found] == [0, 1, 2]
    assert {example.label for example in found} == {None}


def test_of_many_files_some_of_every_sub_folder(tmp_path):
    for i, name in enumerate("abc"):
        (tmp_path / name).mkdir()
        for j in range(10):
            saved_picture(tmp_path / name / f"{j}.png", np.full([9, 9, 3], i))
    found = examples.load_examples([str(tmp_path)], loaded("glow"))
    assert [int(example.image.max()) for example in found] == [0] * 4 + [1] * 4 + [2] * 4


def test_damaged_files_in_a_folder_are_replaced_by_their_neighbours(tmp_path, caplog):
    for i in range(30):
        saved_picture(tmp_path / f"{i:02}.png", np.full([9, 9, 3], i))
    # The first and the last are always chosen.
    for name in ("00", "01", "29"):
        (tmp_path / f"{name}.png").write_text("milk, eggs")
    found = [int(example.image.max()) for example in examples.load_examples([str(tmp_path)], loaded("glow"))]
    assert len(set(found)) == examples.COUNT and found == sorted(found)
    assert (found[0], found[-1]) == (2, 28)
    (record,) = caplog.records
    assert f"3 pictures are left out: {tmp_path / '00.png'} cannot be read" in record.getMessage()
    with pytest.raises(DataError, match=f"{tmp_path / '01.png'} cannot be read"):
        examples.load_examples([str(tmp_path / "01.png"), str(tmp_path)], loaded("glow"))


def test_files_for_a_conditional_model(tmp_path):
    for name in ("a.png", "b.png"):
        saved_picture(tmp_path / name, np.zeros([9, 9, 3]))
    assert examples.load_examples([str(tmp_path)], loaded("conditional"))[0].label == 0


def test_files_that_will_not_do(tmp_path):
    saved_picture(tmp_path / "a.png", np.zeros([9, 9, 3]))
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "b.png").write_text("milk, eggs")
    for names, message in [
        (["nowhere.png"], "nowhere.png is not there"),
        ([str(tmp_path / "empty")], "holds no images"),
        ([str(tmp_path / "a.png")], "at least two"),
        ([str(tmp_path / "a.png"), str(tmp_path / "damaged")], "at least two .*1 pictures are left out: .*b.png"),
    ]:
        with pytest.raises(DataError, match=message):
            examples.load_examples(names, loaded("glow"))


@pytest.mark.parametrize("name", [slow("glow"), slow("grey"), "conditional"])
def test_a_model_draws_its_own_examples(name):
    found, model = examples.default_examples(loaded(name)), loaded(name)
    assert len(found) == examples.COUNT
    assert {example.image.shape for example in found} == {model.image_shape}
    assert [example.label for example in found[:4]] == ([0, 1, 2, 0] if name == "conditional" else [None] * 4)


def test_portraits_are_held_out():
    model = loaded("glow")
    found = examples.portrait_examples(model)
    source = examples.load_source("people", image_size=8)
    held_out = next(iter(examples.split_batches(source, "test", 200).as_numpy_iterator()))["images"]
    assert len({example.image.tobytes() for example in found}) == examples.COUNT
    assert all((held_out == example.image).all(axis=(1, 2, 3)).any() for example in found)
