"""Choice of the labels that are used when most are not."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from glow_tf.data import DataError, Source, labelled_rows, load_source, train_batches


@pytest.fixture(scope="module")
def people():
    return load_source("people", image_size=8)


@pytest.fixture
def folder(tmp_path):
    """20 cats and 10 dogs, painted with their number; the hash of a name decides its split."""
    for number in range(30):
        path = tmp_path / "images" / ("cat" if number < 20 else "dog") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full([8, 8, 3], number, np.uint8)).save(path)
    return tmp_path / "images"


def of_folder(folder):
    return load_source("folder", data_dir=str(folder), image_size=8)


def test_as_many_of_each_class(people):
    for count in (1, 4, 149):
        rows = labelled_rows(people, count, seed=0)
        assert len(set(rows.tolist())) == 6 * count
        assert np.bincount(people.row_labels("train")[rows]).tolist() == [count] * 6


def test_the_choice_goes_by_the_seed_and_nothing_else(people):
    np.testing.assert_array_equal(labelled_rows(people, 4, seed=3), labelled_rows(people, 4, seed=3))
    assert set(labelled_rows(people, 4, seed=3)) != set(labelled_rows(people, 4, seed=4))


def test_fewer_labels_are_among_more(people):
    chosen = [set(labelled_rows(people, count, seed=5)) for count in (1, 2, 7, 149)]
    for fewer, more in zip(chosen[:-1], chosen[1:], strict=True):
        assert fewer < more


def test_files_are_chosen_by_their_names(folder, tmp_path):
    """Regardless of the order in which they were written."""
    files = sorted(folder.rglob("*.png"), reverse=True)
    for file in files:
        copy = tmp_path / "copy" / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    names = []
    for source in (of_folder(folder), of_folder(tmp_path / "copy")):
        names.append([source.row_names("train")[row] for row in labelled_rows(source, 3, seed=0)])
    assert names[0] == names[1]


def test_files_that_cannot_be_read_are_not_chosen(folder):
    source = of_folder(folder)
    chosen = [source.row_names("train")[row] for row in labelled_rows(source, 3, seed=0)]
    (folder / chosen[0]).write_bytes(b"no image")
    source = of_folder(folder)
    again = [source.row_names("train")[row] for row in labelled_rows(source, 3, seed=0)]
    assert set(chosen[1:]) < set(again) and len(again) == 6 and chosen[0] not in again


def test_a_class_with_too_few_images_is_named(folder):
    source = of_folder(folder)
    dogs = int((source.row_labels("train") == 1).sum())
    with pytest.raises(DataError) as error:
        labelled_rows(source, dogs + 1, seed=0)
    message = (
        f"--labels_per_class={dogs + 1}: of class 'dog' folder has {dogs} training image(s). Ask for {dogs} at most"
    )
    assert str(error.value).startswith(message)
    assert len(labelled_rows(source, dogs, seed=0)) == 2 * dogs


def test_a_class_without_images_is_named(folder):
    source = of_folder(folder).with_classes(["cat", "dog", "emu"])
    with pytest.raises(DataError, match="'emu' folder has 0 training image.* Add images of it"):
        labelled_rows(source, 1, seed=0)


def test_without_labels_none_can_be_chosen(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros([9, 8, 8, 3], np.uint8))
    source = load_source("arrays", data_dir=str(tmp_path / "images.npy"))
    with pytest.raises(DataError, match="--labels_per_class=2: labels are needed, and arrays has none"):
        labelled_rows(source, 2, seed=0)


def test_the_other_training_images_stay_without_a_label(people):
    rows = labelled_rows(people, 2, seed=0)
    few = people.with_labels_of(rows)
    expected = np.full(894, -1)
    expected[rows] = people.row_labels("train")[rows]
    np.testing.assert_array_equal(few.row_labels("train"), expected)
    np.testing.assert_array_equal([label for _, label in few.examples("train")], expected)
    np.testing.assert_array_equal([label for _, label in few.examples("test")], people.row_labels("test"))
    # In training too, where the images and their order stay the same.
    for batch, whole in zip(train_batches(few, 298, 7).take(3), train_batches(people, 298, 7), strict=False):
        np.testing.assert_array_equal(batch["images"], whole["images"])
        used = batch["labels"].numpy() >= 0
        np.testing.assert_array_equal(batch["labels"][used], whole["labels"][used])
    assert few.num_classes == 6 and few.sizes == people.sizes


def test_labelled_images_alone(folder):
    whole = of_folder(folder)
    rows = labelled_rows(whole, 2, seed=0)
    alone = whole.reduced_to(rows)
    assert alone.sizes == {"train": 4, "test": whole.sizes["test"]}
    names = [whole.row_names("train")[row] for row in rows]
    assert list(alone.row_names("train")) == names and alone.row_labels("train").tolist() == [0, 0, 1, 1]
    painted = [(int(image[0, 0, 0]), int(label)) for image, label in alone.examples("train")]
    assert painted == [(int(name[-6:-4]), label) for name, label in zip(names, [0, 0, 1, 1], strict=True)]
    np.testing.assert_array_equal(alone.row_labels("test"), whole.row_labels("test"))
    assert alone.identity() != whole.identity()


def test_a_source_of_another_kind_says_what_would_do(people):
    fields = {field.name: getattr(people, field.name) for field in dataclasses.fields(Source)}
    for change in (Source(**fields).with_labels_of, Source(**fields).reduced_to):
        with pytest.raises(DataError, match="people: .* a Source. .*--dataset=folder"):
            change([0])
