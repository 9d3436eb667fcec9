"""Valid and invalid folders of images."""

import hashlib
import logging
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from glow_tf.data import DataError, load_source, train_batches
from glow_tf.data import test_batches as batches_of_test
from glow_tf.models.storage import CONFIG_FILE
from glow_tf.training.model_directory import TRAINING_FILE


def paint(path, value, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


@pytest.fixture
def flat(tmp_path):
    """Forty images; image i is painted with value i."""
    for i in range(40):
        paint(tmp_path / f"{i:02d}.png", i)
    return tmp_path


def values(dataset):
    return [int(image[0, 0, 0]) for image, _ in dataset]


def load(folder, **options):
    return load_source("folder", data_dir=str(folder), image_size=8, **options)


def test_every_image_is_in_exactly_one_split(flat):
    source = load(flat)
    train, test = values(source.examples("train")), values(source.examples("test"))
    assert sorted(train + test) == list(range(40))
    assert (len(train), len(test)) == (source.sizes["train"], source.sizes["test"])
    assert source.num_classes == 0
    assert source.image_shape == (8, 8, 3)


def test_test_fraction_is_about_what_was_asked(flat):
    # Binomial(40, 1/2): outside of 8 to 32 once in 20,000.
    assert 8 <= load(flat, test_fraction=0.5).sizes["test"] <= 32


def test_adding_files_moves_none(flat):
    before = values(load(flat).examples("test"))
    for i in range(40, 80):
        paint(flat / f"{i:02d}.png", i)
    after = values(load(flat).examples("test"))
    assert [value for value in after if value < 40] == before


def test_split_does_not_depend_on_where_the_folder_is(flat, tmp_path_factory):
    copy = tmp_path_factory.mktemp("elsewhere") / "x"
    flat.rename(copy)
    once = values(load(copy).examples("test"))
    copy.rename(flat)
    assert values(load(flat).examples("test")) == once


def test_two_images_fill_both_splits(tmp_path):
    paint(tmp_path / "a.png", 1)
    paint(tmp_path / "b.jpg", 2)
    source = load(tmp_path)
    assert dict(source.sizes) == {"train": 1, "test": 1}


def test_folders_are_labels_in_sorted_order(tmp_path):
    for label, name in enumerate(["ant", "bee", "cat"]):
        for i in range(8):
            paint(tmp_path / name / f"deep{i % 2}" / f"{i}.png", 10 * label + i)
    source = load(tmp_path)
    assert source.class_names == ("ant", "bee", "cat")
    assert source.num_classes == 3
    for split in ("train", "test"):
        for image, label in source.examples(split):
            assert int(image[0, 0, 0]) // 10 == int(label)


def test_one_folder_around_everything_is_no_label(tmp_path):
    for i in range(4):
        paint(tmp_path / "images" / f"{i}.png", i)
    assert load(tmp_path).num_classes == 0


def test_images_beside_label_folders_are_an_error(tmp_path):
    paint(tmp_path / "a.png", 1)
    paint(tmp_path / "cats" / "b.png", 2)
    with pytest.raises(DataError, match="cats"):
        load(tmp_path)


def test_train_and_test_folders_are_the_splits(tmp_path):
    for name, value in (("ant", 10), ("bee", 20)):
        for i in range(3):
            paint(tmp_path / "train" / name / f"{i}.png", value)
        paint(tmp_path / "val" / name / "0.png", value + 1)
    source = load(tmp_path)
    assert source.class_names == ("ant", "bee")
    assert sorted(values(source.examples("train"))) == [10, 10, 10, 20, 20, 20]
    assert sorted(values(source.examples("test"))) == [11, 21]
    assert [int(label) for _, label in source.examples("test")] == [0, 1]


def test_hidden_and_other_files_are_passed_over(flat):
    (flat / "readme.txt").write_text("not an image")
    (flat / "._00.png").write_bytes(b"resource fork")
    (flat / ".cache").mkdir()
    paint(flat / ".cache" / "thumbnail.png", 99)
    source = load(flat)
    assert sum(source.sizes.values()) == 40
    list(source.examples("train"))
    assert not source.skipped


def test_a_link_back_up_does_not_loop(flat):
    (flat / "again").symlink_to(flat, target_is_directory=True)
    assert sum(load(flat).sizes.values()) == 40


@pytest.mark.parametrize("created", [("cat", "dog"), ("dog", "cat")])
def test_of_two_links_to_a_folder_the_first_by_name_counts_which_is_said(tmp_path, caplog, created):
    for i in range(3):
        paint(tmp_path / "elsewhere" / f"{i}.png", 200 + i)
        paint(tmp_path / "photos" / "bee" / f"{i}.png", 100)
    for name in created:
        (tmp_path / "photos" / name).symlink_to("../elsewhere", target_is_directory=True)
    assert load(tmp_path / "photos").class_names == ("bee", "cat")
    (record,) = caplog.records
    photos = tmp_path / "photos"
    assert f"{photos / 'dog'} is left out, as it is the folder {photos / 'cat'} too" in record.getMessage()


def test_upper_case_endings_and_grey(tmp_path):
    paint(tmp_path / "A.PNG", 5)
    paint(tmp_path / "B.JPEG", 5)
    source = load(tmp_path, channels=1)
    assert source.image_shape == (8, 8, 1)
    assert values(source.examples("train")) + values(source.examples("test")) == [5, 5]


def test_image_size_may_be_a_rectangle(flat):
    source = load_source("folder", data_dir=str(flat), image_size=(4, 6))
    image, _ = next(iter(source.examples("train")))
    assert image.shape == (4, 6, 3)


def break_files(folder, names):
    for name in names:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])


def test_unreadable_images_are_skipped_named_and_logged_once(flat, caplog):
    broken = [f"{i:02d}.png" for i in range(0, 40, 4)]
    break_files(flat, broken)
    (flat / "03.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="glow_tf"):
        source = load(flat)
        stream = iter(train_batches(source, batch_size=8, seed=0))
        trained = np.concatenate([next(stream)["images"][:, 0, 0, 0] for _ in range(30)])
        tested = [batch["images"] for batch in batches_of_test(source, batch_size=4)]
    good = {i for i in range(40) if i % 4 and i != 3}
    assert set(trained.tolist()) | {int(v) for b in tested for v in b[:, 0, 0, 0]} == good
    assert set(source.skipped) == {*broken, "03.png"}
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 11
    assert all(sum(name in message for message in messages) == 1 for name in source.skipped)


def test_when_all_images_fail_not_all_are_logged(flat, caplog):
    """As if the disk was unmounted while a model is trained."""
    source = load(flat)
    names = {path.name for path in flat.glob("*.png")}
    for name in names:
        (flat / name).unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="glow_tf"):
        for split in ("train", "test"):
            assert not list(source.batches(split, 8))
    assert set(source.skipped) == names and len(names) == 40
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 21
    assert [message for message in messages if message.endswith(" more images, which are not logged")] == messages[-1:]


def test_twenty_images_that_fail_are_all_logged(flat, caplog):
    """One that is too small is not among them."""
    paint(flat / "tiny.png", 1, size=(2, 2))
    source = load(flat)
    names = [f"{i:02d}.png" for i in range(20)]
    for name in names:
        (flat / name).unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="glow_tf"):
        for split in ("train", "test"):
            list(source.batches(split, 8))
    messages = [record.getMessage() for record in caplog.records if "tiny.png" not in record.getMessage()]
    assert len(messages) == 20
    assert all(sum(name in message for message in messages) == 1 for name in names)


def test_unreadable_images_leave_no_split_empty(tmp_path):
    for i in range(12):
        paint(tmp_path / f"{i:02d}.png", i)
    held_out = values(load(tmp_path).examples("test"))
    break_files(tmp_path, [f"{i:02d}.png" for i in held_out])
    source = load(tmp_path)
    assert values(source.examples("test"))
    assert values(source.examples("train"))


def test_a_file_that_goes_away_while_training_is_skipped(flat):
    source = load(flat)
    stream = iter(train_batches(source, batch_size=4, seed=0))
    next(stream)
    (flat / "07.png").unlink()
    for _ in range(30):
        assert next(stream)["images"].shape == (4, 8, 8, 3)


def test_folder_without_a_readable_image(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"of 3, 3 cannot be read.*\.png: UnidentifiedImageError"):
        load(tmp_path)


def test_one_image_is_too_few(tmp_path):
    paint(tmp_path / "a.png", 1)
    with pytest.raises(DataError, match="at least 2"):
        load(tmp_path)


def test_empty_folder(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        load(tmp_path)


def test_missing_folder_and_missing_options(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="--data_dir"):
        load_source("folder", image_size=8)
    with pytest.raises(DataError, match="--image_size"):
        load_source("folder", data_dir=str(tmp_path))
    with pytest.raises(DataError, match="test_fraction"):
        load(tmp_path, test_fraction=1.5)


def test_images_that_would_have_to_be_enlarged_are_left_out_and_named(flat):
    paint(flat / "50.png", 50, size=(7, 20))
    paint(flat / "51.jpg", 51, size=(20, 7))
    source = load(flat)
    batches = train_batches(source, batch_size=8, seed=0).take(20)
    seen = {int(v) for batch in batches for v in batch["images"][:, 0, 0, 0]} | set(values(source.examples("test")))
    assert seen == set(range(40))
    assert source.skipped == {"50.png": "smaller than 8x8: 7x20", "51.jpg": "smaller than 8x8: 20x7"}
    lines = source.describe_skipped(limit=1).splitlines()
    assert lines == ["folder: 2 images left out:", "  50.png: smaller than 8x8: 7x20", "  and 1 more"]
    assert load_source("people").describe_skipped() == ""


def test_many_small_images_are_told_of_once_and_can_be_enlarged(tmp_path, caplog):
    for i in range(60):
        paint(tmp_path / f"{i:02d}.png", i, size=(8, 8) if i % 2 else (5, 6))
    with caplog.at_level(logging.WARNING, logger="glow_tf"):
        source = load(tmp_path)
        assert {*values(source.examples("train")), *values(source.examples("test"))} == set(range(1, 60, 2))
    (message,) = [record.getMessage() for record in caplog.records]
    assert "smaller than 8x8" in message and "--upscale" in message
    assert len(source.describe_skipped().splitlines()) == 22
    caplog.clear()
    source = load(tmp_path, upscale=True)
    assert {*values(source.examples("train")), *values(source.examples("test"))} == set(range(60))
    assert not source.skipped and not caplog.records
    again = load_source(**source.arguments)
    assert again.arguments["upscale"] and set(values(again.examples("train"))) == set(values(source.examples("train")))


def test_what_is_cropped_must_be_large_enough_to_crop_from(flat):
    paint(flat / "50.png", 50, size=(12, 15))
    paint(flat / "51.png", 51, size=(40, 13))
    source = load(flat, crop_from=12)
    assert {int(v) for b in batches_of_test(source, 4) for v in b["images"][:, 3, 3, 0]} <= {50, 51}
    assert next(iter(train_batches(source, 2, seed=0)))["images"].shape == (2, 8, 8, 3)
    assert source.skipped["07.png"] == "smaller than 12x12: 8x8"


def test_orientation_counts_before_size(tmp_path):
    """A 6x10 picture that is displayed rotated counts as 10x6."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "abc":
        Image.fromarray(np.full((6, 10, 3), 9, np.uint8)).save(tmp_path / f"{name}.png", exif=exif)
    source = load_source("folder", data_dir=str(tmp_path), image_size=(10, 6))
    assert len(list(source.examples("train"))) + len(list(source.examples("test"))) == 3
    with pytest.raises(DataError, match="of 3, 3 cannot be read or are too small.*smaller than 6x10: 10x6"):
        load_source("folder", data_dir=str(tmp_path), image_size=(6, 10))


def split_of(folder):
    """Maps file names, without their endings, to splits; images are identified by their values."""
    source = load(folder)
    return {f"{value:02d}": split for split in source.sizes for value in values(source.examples(split))}


@pytest.mark.parametrize("first", [20, 7, 30])
def test_once_both_splits_have_images_of_their_own_no_file_ever_moves(tmp_path, first):
    """A folder of twenty images grows by ten at a time, in several orders."""
    order = np.random.default_rng(first).permutation(90).tolist()
    known = {}
    for count in range(20, 91, 10):
        for i in order[:count]:
            if not (tmp_path / f"{i:02d}.png").exists():
                paint(tmp_path / f"{i:02d}.png", i)
        now = split_of(tmp_path)
        if "test" in known.values() and held_out_by_hash(known):
            assert {name: now[name] for name in known} == known
        known = now
    assert len(known) == 90 and held_out_by_hash(known)


def held_out_by_hash(names):
    """Returns the names whose hash, the first eight bytes of SHA-256, lies in the lowest tenth."""
    numbers = {name: hashlib.sha256(f"{name}.png".encode()).digest()[:8] for name in names}
    return {name for name, digest in numbers.items() if int.from_bytes(digest, "big") < 0.1 * 2**64}


def test_the_split_is_by_hash(flat):
    """Pinned, as another hash would move files between the splits of existing runs."""
    assert {name for name, split in split_of(flat).items() if split == "test"} == held_out_by_hash(
        [f"{i:02d}" for i in range(40)]
    )


def test_of_the_smallest_folders_one_image_is_borrowed(tmp_path):
    """If no hash is in the lowest tenth, one image is held out anyway, until the first such file is added."""
    names = [f"{i:02d}" for i in range(90)]
    own = held_out_by_hash(names)
    for name in [name for name in names if name not in own][:4]:
        paint(tmp_path / f"{name}.png", int(name))
    before = split_of(tmp_path)
    (borrowed,) = (name for name, split in before.items() if split == "test")
    newcomer = min(own)
    paint(tmp_path / f"{newcomer}.png", int(newcomer))
    assert split_of(tmp_path) == {**before, borrowed: "train", newcomer: "test"}


def paint_all(root, names, count=2):
    """Paints `count` images in each folder with ten times the folder's index in `names`."""
    for number, name in enumerate(names):
        for i in range(count):
            paint(root / name / f"{i}.png", 10 * number)


def split_values(source):
    return {split: sorted(set(values(source.examples(split)))) for split in source.sizes}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("TRAIN", "VAL"),
        ("training", "testing"),
        ("train", "valid"),
        ("train2017", "val2017"),
        ("train_images", "eval-images"),
        ("01_train", "02_holdout"),
        ("trainset", "Dev Set"),
        ("DIV2K_train_HR", "DIV2K_valid_HR"),
        ("trainval", "hold_out"),
        ("archive/data/Training", "archive/data/Testing"),
        ("train/train", "train/test"),
    ],
)
def test_folders_named_like_splits_are_splits(tmp_path, train, test):
    paint_all(tmp_path, [f"{train}/a", f"{train}/b", f"{test}/a", f"{test}/b"])
    source = load(tmp_path)
    assert split_values(source) == {"train": [0, 10], "test": [20, 30]}
    assert source.class_names == ("a", "b")
    assert [int(label) for _, label in source.examples("test")] == [0, 0, 1, 1]


def test_what_is_left_beside_the_splits_is_named(tmp_path, caplog):
    paint_all(tmp_path, ["train", "test", "valid", "unlabeled"], count=3)
    source = load(tmp_path)
    assert split_values(source) == {"train": [0], "test": [10]}
    (message,) = [record.getMessage() for record in caplog.records if "passing over" in record.getMessage()]
    assert "training on train, testing on test; passing over unlabeled (3 images), valid (3 images)" in message


def test_test_images_without_labels_give_way_to_those_for_validation(tmp_path):
    """As in ImageNet, where all test images are in one folder."""
    paint_all(tmp_path, ["train/a", "train/b", "val/a", "val/b", "test"])
    assert split_values(load(tmp_path)) == {"train": [0, 10], "test": [20, 30]}


def test_folders_inside_of_splits_without_classes_are_no_labels(tmp_path):
    paint_all(tmp_path, ["train/images", "test/pictures"])
    source = load(tmp_path)
    assert (source.num_classes, split_values(source)) == (0, {"train": [0], "test": [10]})


@pytest.mark.parametrize("extra", [[], ["unsup"]])
def test_of_a_train_folder_alone_some_are_held_out(tmp_path, extra):
    paint_all(tmp_path, ["Train/a", "Train/b", *extra], count=20)
    source = load(tmp_path)
    assert (source.class_names, sum(source.sizes.values())) == (("a", "b"), 40)
    held_out = {name for name in source.row_names("test")}
    assert held_out and held_out == {
        f"Train/{label}/{i}.png" for label in "ab" for i in range(20) if lowest_tenth(f"Train/{label}/{i}.png")
    }


def lowest_tenth(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < 0.1 * 2**64


@pytest.mark.parametrize("others", [("bus", "car"), ("test_tube", "bullet_train", "trainer")])
def test_a_train_may_be_a_vehicle(tmp_path, others):
    paint_all(tmp_path, ["train", *others], count=4)
    assert load(tmp_path).class_names == tuple(sorted(["train", *others]))


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["train", "test", "cats"], "there are cats"),
        (["train", "Train", "test"], "train and Train|Train and train"),
        (["train", "testing", "test"], "test and testing"),
        (["train", "val", "valid"], "val and valid"),
        (["test", "cats", "dogs"], "test may be to test on, or a class"),
        (["train/cats", "train/dogs", "others"], "train may be to train on, or a class"),
        (["train", "others"], "train may be to train on, or a class"),
        (["training", "bus", "car"], "training may be to train on, or a class"),
        (["trainA", "trainB", "testA", "testB"], "trainA, trainB may all be splits"),
        (["train_cats", "test_dogs"], "not alike"),
        (["cats/train", "cats/test", "dogs/train", "dogs/test"], "cats has splits in it"),
        (["a", "data/train", "data/test"], "data has splits in it.*--data_dir"),
        (["train/a", "train/b", "test/c"], "test has none of the classes of train"),
        (["train/a", "train/b", "test"], "test has none of the classes of train"),
    ],
)
def test_where_it_is_not_certain_what_the_splits_are_nothing_is_trained_on(tmp_path, names, named):
    paint_all(tmp_path, names)
    with pytest.raises(DataError, match=named) as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)


def test_images_beside_the_splits_are_not_passed_over(tmp_path):
    paint_all(tmp_path, ["train", "test", "."])
    with pytest.raises(DataError, match="there are images beside them"):
        load(tmp_path)


def test_numbers_of_classes_are_in_their_order(tmp_path):
    paint_all(tmp_path, [str(i) for i in range(12)])
    source = load(tmp_path)
    assert source.class_names == tuple(map(str, range(12)))
    assert all(
        int(image[0, 0, 0]) == 10 * int(label) for split in source.sizes for image, label in source.examples(split)
    )


def test_what_systems_keep_for_themselves_is_passed_over(flat):
    for folder in ("@eaDir", ".thumbnails", "__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information"):
        paint(flat / folder / "x.png", 99)
    paint(flat / "._x.png", 99)
    for file in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (flat / file).write_bytes(b"")
    source = load(flat)
    assert (source.num_classes, sum(source.sizes.values()), source.skipped) == (0, 40, {})


def test_model_directories_are_left_out_and_named(flat, caplog):
    """Training writes them below the working directory, which may be the folder of images."""
    before = load(flat)
    for name in ("one", "one/best", "other"):
        for file in (CONFIG_FILE, TRAINING_FILE):
            (flat / "runs" / name).mkdir(parents=True, exist_ok=True)
            (flat / "runs" / name / file).write_text("{}")
    paint(flat / "runs" / "one" / "samples" / "step_0000001.png", 0)
    assert load(flat).identity() == before.identity()
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.endswith(f"{flat / 'runs' / 'one'}, {flat / 'runs' / 'other'}")
    # Whoever names such a folder wants what is in it.
    paint(flat / "runs" / "one" / "samples" / "step_0000002.png", 0)
    assert sum(load(flat / "runs" / "one").sizes.values()) == 2


def test_a_copy_whose_accents_are_characters_of_their_own_is_the_same_data(tmp_path):
    """macOS spells names like that, and sorts them differently."""
    copies = []
    for form in ("NFC", "NFD"):
        for i in range(30):
            folder, letter = ("café", "cafz")[i % 2], "éff"[i % 3]
            paint(tmp_path / form / unicodedata.normalize(form, f"{folder}/{letter}{i:02d}.png"), i)
        copies.append(load(tmp_path / form))
    assert copies[0].identity() == copies[1].identity()
    for split in ("train", "test"):
        assert values(copies[0].examples(split)) == values(copies[1].examples(split))
        assert copies[0].row_labels(split).tolist() == copies[1].row_labels(split).tolist()


def test_pictures_in_formats_that_are_not_read_are_counted(flat, caplog):
    for name in ("a.heic", "b.HEIC", "c.cr2", "notes.txt"):
        (flat / name).write_bytes(b"")
    assert sum(load(flat).sizes.values()) == 40
    (message,) = [record.getMessage() for record in caplog.records if "passing over" in record.getMessage()]
    assert "2 .heic, 1 .cr2 files, which cannot be read: convert them to png or jpeg" in message
    for file in flat.glob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match="holds no images .*other files: 2 .heic, 1 .cr2, 1 .txt. Convert"):
        load(flat)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_in_a_folder_is_left_out(flat):
    os.mkfifo(flat / "pipe.png")
    source = load(flat)
    list(source.examples("train")), list(source.examples("test"))
    assert source.skipped == {"pipe.png": "ValueError: it is not a regular file"}
