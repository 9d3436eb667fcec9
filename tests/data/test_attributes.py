"""Image attributes from a table, from labels and from the data set itself."""

import dataclasses
import os

import numpy as np
import pytest
from PIL import Image

from glow_tf.data import (
    DataError,
    attributed_batches,
    batches_with_rows,
    load_attributes,
    load_source,
    people_attributes,
)


@pytest.fixture
def folder(tmp_path):
    """Forty pictures in two sub-folders, each painted with its number."""
    for i in range(40):
        path = tmp_path / "photos" / ("cat", "dog")[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, i, i)).save(path)
    return tmp_path / "photos"


def source_of(folder):
    return load_source("folder", data_dir=str(folder), image_size=8)


def by_number(source, split, attributes, batch_size=3):
    """Maps the number that each picture is painted with to its attributes and label."""
    found = {}
    for batch in attributed_batches(source, split, batch_size, attributes):
        numbers = batch["images"][:, 0, 0, 0].tolist()
        found |= dict(
            zip(numbers, zip(batch["attributes"].tolist(), batch["labels"].tolist(), strict=True), strict=True)
        )
    return found


def table(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return str(path)


FORMS = {
    "commas": ("name,high,odd\n", "{name},{high},{odd}\n", 0),
    "blanks": ("name high odd\n", "{name}   {high} {odd}\n", 0),
    # As in list_attr_celeba.txt: the number of images first, no name for the first column, -1 for no.
    "celeb_a": ("40\nhigh odd\n", "{name} {high} {odd}\n", -1),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folders", [True, False])
def test_a_table_goes_by_the_names_of_files(tmp_path, folder, form, folders):
    head, row, no = FORMS[form]
    lines = []
    for i in reversed(range(40)):
        name = f"{('cat', 'dog')[i % 2]}/{i:02d}.png" if folders else f"{i:02d}.png"
        lines.append(row.format(name=name, high=1 if i >= 20 else no, odd=1 if i % 2 else no))
    source = source_of(folder)
    found = {}
    for split in ("train", "test"):
        attributes = load_attributes(source, split, table(tmp_path, head + "".join(lines)))
        assert attributes.names == ("high", "odd")
        found |= by_number(source, split, attributes)
    assert found == {i: ([i >= 20, i % 2], i % 2) for i in range(40)}


def test_a_broken_picture_does_not_move_the_others(tmp_path, folder):
    (folder / "cat" / "06.png").write_bytes(b"broken")
    source = source_of(folder)
    found = by_number(source, "train", load_attributes(source, "train")) | by_number(
        source, "test", load_attributes(source, "test")
    )
    assert found == {i: ([1 - i % 2, i % 2], i % 2) for i in range(40) if i != 6}
    for split in ("train", "test"):
        names = source.row_names(split)
        for batch in batches_with_rows(source, split, 4):
            numbers = [int(names[row].rpartition("/")[2].removesuffix(".png")) for row in batch["rows"]]
            assert numbers == batch["images"][:, 0, 0, 0].tolist()


def test_sub_folders_are_attributes(folder):
    attributes = load_attributes(source_of(folder), "train")
    assert attributes.names == ("cat", "dog")
    assert attributes.values.sum(axis=1).tolist() == [1] * len(attributes.values)


def test_what_is_not_in_the_table_is_unknown(tmp_path, folder):
    source = source_of(folder)
    attributes = load_attributes(source, "train", table(tmp_path, "name,a,b\n03.png,1,\n04.png,0,no\n"))
    found = {number: row for number, (row, _) in by_number(source, "train", attributes).items()}
    expected = {3: [1, -1], 4: [0, 0]}
    assert found == {number: expected.get(number, [-1, -1]) for number in found}
    assert {3, 4} < set(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a line of names"),
        ("name,a\n", "needs a line of names"),
        ("name,a\n03.png,maybe\n", "03.png has the value 'maybe'"),
        ("name,a\n03.png,1\n04.png,1,0\n", "04.png has 2 values for 1 attributes"),
        ("name,a\nx.jpg,1\n", "names none of the images: it begins with 'x.jpg', the images with 'cat/"),
        ("name,a,a\n03.png,1,0\n", "attribute 'a' is named twice"),
        ("name,a\n03.png,1\n03.png,0\n", "two lines for 03.png"),
        ("name,a,b,\n03.png,1,0\n", "the header has 4 columns, and the line of 03.png has 3"),
        ("a,b\n03.png,1,0,1\n", "the header has 2 columns, and the line of 03.png has 4"),
        ("name,a,\n03.png,1,0\n", "a column of values has no name"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, folder, text, message):
    with pytest.raises(DataError, match=message):
        load_attributes(source_of(folder), "train", table(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,schön\n03.png,1\n".encode("latin-1"), "table.csv is not UTF-8: byte 0xf6"),
        ("name,a\n03.png,1\n".encode("utf-16"), "table.csv is not UTF-8"),
        ("name,a\n03.png,1\n".encode("utf-16-le"), "table.csv .* NUL characters"),
        (b"name,a\n03.png,1\n\0\0\0\0", "table.csv .* NUL characters"),
        (b"name,a\n03.png,%b\n" % (b"1" * 200_000), "table.csv is not a table"),
    ],
    ids=["latin-1", "utf-16", "utf-16-le", "nul", "field"],
)
def test_tables_that_are_no_text_in_utf8(tmp_path, folder, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_attributes(source_of(folder), "train", str(path))


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path, folder):
    path = tmp_path / "table.csv"
    path.write_text("name,schön\n03.png,1\n", encoding="utf-8-sig")
    assert load_attributes(source_of(folder), "train", str(path)).names == ("schön",)
    # As Excel writes it.
    path.write_text("40\r\nschön\r\n03.png 1\r\n", encoding="utf-8-sig")
    assert load_attributes(source_of(folder), "train", str(path)).names == ("schön",)


def test_names_in_another_encoding(tmp_path):
    """Sub-folders and files whose names are encoded in Latin-1."""
    for i in range(40):
        path = tmp_path / "photos" / os.fsdecode((b"caf\xe9", b"th\xe9")[i % 2]) / os.fsdecode(b"\xe9%02d.png" % i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, i, i)).save(path)
    source = source_of(tmp_path / "photos")
    attributes = load_attributes(source, "train")
    assert attributes.names == (r"caf\xe9", r"th\xe9")
    found = by_number(source, "train", attributes)
    assert found == {i: ([1 - i % 2, i % 2], i % 2) for i in found}
    # A table spells the names as `glow evaluate --csv` does.
    lines = "".join(rf"th\xe9/\xe9{i:02d}.png,1" + "\n" for i in range(1, 40, 2))
    found = by_number(source, "train", load_attributes(source, "train", table(tmp_path, f"name,tea\n{lines}")))
    assert found == {i: ([1 if i % 2 else -1], i % 2) for i in found}


def test_a_name_without_folders_must_be_that_of_one_image(tmp_path, folder):
    names = ["in/0.png", "in/a/0.png", "in/a/1.png", "in/b/1.png", "in/b/2.png"]
    source = dataclasses.replace(source_of(folder), names={"train": names})
    with pytest.raises(DataError, match="1.png fits in/a/1.png, in/b/1.png; name these with their folders"):
        load_attributes(source, "train", table(tmp_path, "name,x\n2.png,1\n1.png,1\n"))
    lines = "in/0.png,1\n0.png,0\n2.png,1\nin/b/1.png,0\n"
    found = load_attributes(source, "train", table(tmp_path, f"name,x\n{lines}"))
    assert found.values.ravel().tolist() == [1, 0, -1, 0, 1]


def test_accents_may_be_characters_of_their_own(tmp_path):
    """macOS spells the names of files like that."""
    for i in range(40):
        path = tmp_path / "photos" / ("cafe\u0301", "bar")[i % 2] / f"e\u0301{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, i, i)).save(path)
    source = source_of(tmp_path / "photos")
    lines = "".join(f"caf\xe9/\xe9{i:02d}.png,1\n" for i in range(0, 40, 2))
    attributes = load_attributes(source, "train", table(tmp_path, f"name,the\u0301\n{lines}"))
    found = by_number(source, "train", attributes.only(["th\xe9"]))
    # Labels are in the order of the names: bar, café.
    assert found == {i: ([-1 if i % 2 else 1], 1 - i % 2) for i in found}
    assert load_attributes(source, "train").only(["caf\xe9"]).values.sum() == sum(1 - i % 2 for i in found)


def test_images_of_an_array_go_by_their_numbers(tmp_path):
    images = np.zeros([20, 8, 8, 1], np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None, None]
    np.save(tmp_path / "images.npy", images)
    source = load_source("arrays", data_dir=str(tmp_path / "images.npy"), test_size=5)
    text = "n,big\n" + "".join(f"{i},{int(i > 7)}\n" for i in range(15))
    found = by_number(source, "train", load_attributes(source, "train", table(tmp_path, text)))
    assert found == {i: ([int(i > 7)], 0) for i in range(15)}
    with pytest.raises(DataError, match="neither attributes nor labels"):
        load_attributes(source, "train")


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_portraits_have_tone_gender_and_kind(split):
    source = load_source("people", image_size=8)
    attributes, known = load_attributes(source, split), people_attributes(split)
    assert len(attributes.names) == 6 + 2 + 6 and len(attributes.values) == source.sizes[split]
    columns = dict(zip(attributes.names, attributes.values.T, strict=True))
    np.testing.assert_array_equal(columns["dark"], known["labels"] == 5)
    np.testing.assert_array_equal(columns["woman"], known["gender"] == "woman")
    for tone in known["class_names"]:
        assert 0 < columns[tone].sum() < len(columns[tone])


def test_some_of_them_and_a_limit():
    source = load_source("people", image_size=8)
    attributes = load_attributes(source, "train").only(["woman", "dark"])
    assert attributes.names == ("woman", "dark")
    batches = list(attributed_batches(source, "train", 4, attributes, limit=6))
    assert [len(batch["images"]) for batch in batches] == [4, 2]
    np.testing.assert_array_equal(np.concatenate([b["attributes"] for b in batches]), attributes.values[:6])
    (spaced,) = attributed_batches(source, "train", 4, attributes, limit=3, spaced=True)
    # The first, the middle and the last of the 894 portraits.
    assert spaced["rows"].tolist() == [0, 446, 893]
    np.testing.assert_array_equal(spaced["attributes"], attributes.values[[0, 446, 893]])
    with pytest.raises(DataError, match="no attribute 'young'; there are yellow"):
        load_attributes(source, "train").only(["young"])
