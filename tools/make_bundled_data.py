"""Makes `glow_tf/data/people.npz`, the bundled data set of portraits.

The pictures are Noto Emoji (Google, Apache-2.0), as packaged on npm:

    npm pack emoji-datasource-google@16.0.0
    tar xzf emoji-datasource-google-16.0.0.tgz      # unpacks into package/
    python -m tools.make_bundled_data --package=package --output=glow_tf/data/people.npz

The same package gives the same file, byte for byte, with the same NumPy and zlib.

Arrays in the file, over N pictures:
    images: uint8 [N, 32, 32, 3], on white.
    labels: int32 [N], skin tone, index into `class_names`.
    class_names: str [6].
    group: int32 [N], kind of picture, index into `group_names`.
    group_names: str [6].
    gender: str [N], "man", "woman" or "person".
    names: str [N], the emoji's short name, the same for all its skin tones.
    is_test: bool [N], True for held-out pictures.
"""

import argparse
import hashlib
import json
import pathlib

import numpy as np
from PIL import Image

SIZE = 32
TEST_FRACTION = 0.1

TONES = {
    "": "yellow",
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}

# Subcategories taken completely, except for EXCLUDED; then, from subcategories of mostly full-body
# pictures, the emoji that show head and shoulders. In the order of the file's groups.
WHOLE_GROUPS = ("person", "person-role", "person-gesture", "person-fantasy")
PICKED = {
    "person-activity": (
        "massage", "man-getting-massage", "woman-getting-massage",
        "haircut", "man-getting-haircut", "woman-getting-haircut",
        "person_in_steamy_room", "man_in_steamy_room", "woman_in_steamy_room",
    ),
    "person-sport": (
        "juggling", "man-juggling", "woman-juggling",
        "water_polo", "man-playing-water-polo", "woman-playing-water-polo",
    ),
}  # fmt: skip
GROUPS = (*WHOLE_GROUPS, *PICKED)

# Full-body figures, and zombies, which have no skin tones.
EXCLUDED = frozenset((
    "superhero", "male_superhero", "female_superhero",
    "supervillain", "male_supervillain", "female_supervillain",
    "fairy", "male_fairy", "female_fairy",
    "merperson", "merman", "mermaid",
    "genie", "male_genie", "female_genie",
    "zombie", "male_zombie", "female_zombie",
    "troll",
))  # fmt: skip

# Genders of emoji whose short names state none, or a different one.
GENDERS = {
    "angel": "person", "boy": "man", "girl": "woman", "prince": "man", "princess": "woman",
    "santa": "man", "mrs_claus": "woman", "breast-feeding": "woman",
    "ok_woman": "person",
    "man_with_turban": "person", "man_with_gua_pi_mao": "person",
}  # fmt: skip

# Pictures of different emoji that differ, in the same skin tone, by less than this (mean
# absolute difference of pixel values in 0..255) count as one picture for the held-out split.
NEAR_DUPLICATE = 6.0


def wanted_emoji(package):
    """Returns the emoji entries to take, in the data file's order, as a list of (group, entry)."""
    entries = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    chosen = []
    for entry in sorted(entries, key=lambda e: e["sort_order"]):
        group, name = entry["subcategory"], entry["short_name"]
        whole = group in WHOLE_GROUPS and name not in EXCLUDED
        if whole or name in PICKED.get(group, ()):
            chosen.append((group, entry))
    return sorted(chosen, key=lambda pair: GROUPS.index(pair[0]))


def read_picture(path):
    """Reads a 64x64 RGBA picture as uint8 [32, 32, 3] on white.

    It is composited on white before it is averaged: averaging first would mix the colour of fully
    transparent pixels into the edges.
    """
    with Image.open(path) as file:
        picture = file.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    flat = Image.alpha_composite(white, picture).convert("RGB")
    return np.asarray(flat.resize((SIZE, SIZE), Image.Resampling.BOX))


def gender_of(short_name):
    """Returns the gender in a short name: "man", "woman" or "person"."""
    if short_name in GENDERS:
        return GENDERS[short_name]
    words = short_name.replace("_", "-").split("-")
    if {"woman", "female", "women"} & set(words):
        return "woman"
    if {"man", "male", "men"} & set(words):
        return "man"
    return "person"


def near_duplicates(names, labels, images):
    """Maps each name to the first name, in order, of its cluster of near-duplicate pictures."""
    first = {name: name for name in names}
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        pictures = images[rows].astype(np.float32).reshape(len(rows), -1)
        for i, row in enumerate(rows):
            distance = np.mean(np.abs(pictures[:i] - pictures[i]), axis=1)
            for j in np.flatnonzero(distance < NEAR_DUPLICATE):
                old, new = first[names[row]], first[names[rows[j]]]
                first = {name: new if head == old else head for name, head in first.items()}
    return first


def held_out_names(first, groups):
    """Chooses the held-out emoji: in each group, the first near-duplicate clusters in hash order.

    Clusters are added until they make up a tenth of the group's emoji or more.

    Args:
        first: cluster of each name, named by its first member, from `near_duplicates`.
        groups: group of each name, an int.

    Returns:
        Set of names; it contains all or none of the skin tones and near-duplicates of an emoji.
    """
    chosen = set()
    for group in sorted(set(groups.values())):
        heads = {first[name] for name in groups if groups[name] == group}
        wanted = TEST_FRACTION * sum(groups[name] == group for name in groups)
        taken = 0
        for head in sorted(heads, key=lambda name: hashlib.sha256(name.encode()).digest()):
            if taken >= wanted:
                break
            cluster = {name for name in first if first[name] == head}
            chosen |= cluster
            taken += len(cluster)
    return chosen


def build(package):
    """Builds the arrays of the data file from the unpacked npm package."""
    folder = package / "img" / "google" / "64"
    images, labels, groups, genders, names = [], [], [], [], []
    seen = set()
    for group, entry in wanted_emoji(package):
        variants = {"": entry, **entry.get("skin_variations", {})}
        for label, tone in enumerate(TONES):
            if tone not in variants:
                raise ValueError(f"{entry['short_name']} has no skin tone {tone}")
            picture = read_picture(folder / variants[tone]["image"])
            if picture.tobytes() in seen:
                continue
            seen.add(picture.tobytes())
            images.append(picture)
            labels.append(label)
            groups.append(GROUPS.index(group))
            genders.append(gender_of(entry["short_name"]))
            names.append(entry["short_name"])
    images, labels = np.stack(images), np.asarray(labels, np.int32)
    first = near_duplicates(names, labels, images)
    held_out = held_out_names(first, dict(zip(names, groups, strict=True)))
    return {
        "images": images,
        "labels": labels,
        "class_names": np.asarray(tuple(TONES.values())),
        "group": np.asarray(groups, np.int32),
        "group_names": np.asarray(GROUPS),
        "gender": np.asarray(genders),
        "names": np.asarray(names),
        "is_test": np.asarray([name in held_out for name in names]),
    }


def main():
    """Writes the data file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=pathlib.Path, required=True, help="unpacked npm package")
    parser.add_argument("--output", type=pathlib.Path, required=True, help=".npz file to write")
    arguments = parser.parse_args()
    arrays = build(arguments.package)
    np.savez_compressed(arguments.output, **arrays)
    held_out = int(arrays["is_test"].sum())
    print(f"{arguments.output}: {len(arrays['images'])} pictures, {held_out} held out")
    for title, index, labels in (
        ("skin tone", arrays["labels"], arrays["class_names"]),
        ("group", arrays["group"], arrays["group_names"]),
    ):
        counts = np.bincount(index, minlength=len(labels))
        print(f"  {title}: " + ", ".join(f"{n} {c}" for n, c in zip(labels, counts, strict=True)))


if __name__ == "__main__":
    main()
