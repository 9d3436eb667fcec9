"""The model card: its contents, and that no name can break it."""

import dataclasses
import math

import markdown_it
import pytest
import yaml

import glow_tf
from glow_tf.data import Source
from glow_tf.training import card
from glow_tf.training.card import Best, Card
from glow_tf.training.config import TrainingConfig
from glow_tf.training.evaluation import Evaluation

START = {
    "command": "glow train",
    "begun": "2026-01-02T03:04:05+00:00",
    "from_step": 0,
    "to_step": 2000,
    "seconds": 90.0,
    "devices": "NVIDIA H200",
    "replicas": 2,
    "versions": {"glow_tf": "1.2.3", "tensorflow": "2.21.0"},
}


def source(name="people", data_dir=None, classes=(), **fields):
    return Source(
        name=name,
        image_shape=(8, 8, 3),
        stored_shape=(8, 8, 3),
        num_classes=len(classes),
        class_names=classes,
        sizes={"train": 1894, "test": 114},
        arguments={"name": name, **({"data_dir": data_dir} if data_dir else {})},
        **fields,
    )


def make(**fields):
    defaults = {
        "name": "people_glow",
        "config": glow_tf.glow((8, 8, 3), K=1, L=2, width=4, n_bits=5),
        "parameters": 12345,
        "source": source(),
        "training": TrainingConfig(steps=3000),
        "step": 2000,
        "last": Evaluation(2.34567, 0.0123, 114),
        "best": Best(bits_per_dim=2.25, step=1500, images=114),
        "starts": [START],
        "flagfile": True,
        "pictures": {"samples": "samples/step_0002000.png", "reconstructions": "reconstructions/step_0001500.png"},
    }
    return Card(**{**defaults, **fields})


def parsed(text):
    """Returns the metadata, and the tokens of the rest, read as GitHub-flavoured Markdown."""
    empty, metadata, rest = text.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(metadata), markdown_it.MarkdownIt("gfm-like", {"linkify": False}).parse(rest)


def of_type(tokens, *types):
    """Returns the tokens of some types, including inline ones."""
    everything = [inner for token in tokens for inner in (token, *(token.children or ()))]
    return [token for token in everything if token.type in types]


def tables(tokens):
    """Returns the rows of all tables, as the texts of their cells."""
    rows = []
    for token, after in zip(tokens, tokens[1:], strict=False):
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("td_open", "th_open"):
            rows[-1].append("".join(child.content for child in after.children))
    return rows


def test_it_says_what_the_run_found():
    metadata, tokens = parsed(make().markdown())
    assert metadata["library_name"] == "glow_tf"
    assert {"normalizing-flow", "glow"} <= set(metadata["tags"])
    (entry,) = metadata["model-index"]
    (result,) = entry["results"]
    assert (entry["name"], result["dataset"]["name"]) == ("people_glow", "people")
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [("bits_per_dim", 2.3457)]
    rows = tables(tokens)
    assert ["last", "2.346 ± 0.012", "114", "2,000"] in rows
    assert ["best, in best/", "2.250", "114", "1,500"] in rows
    rows = dict(row for row in rows if len(row) == 2)
    assert rows["images"] == "1,894 to train on, 114 held out"
    assert rows["size"] == "8x8x3, 5 bits a channel"
    assert rows["parameters"] == "12,345"
    assert rows["family"].startswith("Glow (Kingma & Dhariwal 2018")
    assert rows["steps"] == "2,000 of 3,000"
    assert rows["devices"] == "2 replicas on NVIDIA H200"
    assert rows["time"] == "1.5 minutes"
    assert "tensorflow 2.21.0" in rows["versions"]
    pictures = [token.attrs["src"] for token in of_type(tokens, "image")]
    assert pictures == ["samples/step_0002000.png", "reconstructions/step_0001500.png"]
    commands = "".join(token.content for token in of_type(tokens, "fence"))
    assert "glow sample --model_dir=people_glow\n" in commands
    assert "glow train --flagfile=people_glow/run.flags --model_dir=again\n" in commands


def test_it_says_that_bits_per_dim_are_a_bound_and_how_to_tighten_it():
    text = make().markdown()
    assert "an upper bound" in text and "`glow evaluate --samples=16`" in text


def training_rows(**fields):
    _, tokens = parsed(make(training=TrainingConfig(**fields)).markdown())
    return dict(row for row in tables(tokens) if len(row) == 2)


def test_it_has_the_settings_by_which_runs_differ():
    usual = training_rows()
    assert (usual["batch"], usual["optimizer"]) == ("64 images", "adamax")
    assert not any("label" in name or "loss" in name for name in usual)
    adamw = {"optimizer": "adamw", "weight_decay": 0.0333, "beta2": 0.95, "epsilon": 1e-8}
    rows = training_rows(**adamw, accumulate_steps=4, label_loss_weight=0.01, labels_per_class=400)
    assert rows["batch"] == "64 images in 4 parts"
    assert rows["optimizer"] == "adamw, beta2 0.95, epsilon 1e-08, weight decay 0.0333"
    assert (rows["weight of the label loss"], rows["labels used of each class"]) == ("0.01", "400")


def test_only_labelled_images_count_where_no_others_are_used():
    training = TrainingConfig(label_loss_weight=0.01, labels_per_class=2, labelled_only=True)
    text = make(training=training, source=source(classes=("cat", "dog", "owl"))).markdown()
    assert "6 to train on, 114 held out" in text and "pictures like the 6 it has learned from" in text


@pytest.mark.parametrize("name", ["pretrained", "pretrained_32"])
def test_a_directory_called_like_a_bundled_model_is_named_by_its_path(name):
    text = make(name=name).markdown()
    assert f'glow_tf.load("./{name}")' in text and f"glow sample --model_dir=./{name}\n" in text
    assert f"glow train --model_dir=./{name} --resume" in text and f"--model_dir={name}" not in text


def test_what_is_not_known_is_not_said():
    text = make(
        pictures={},
        flagfile=False,
        last=Evaluation(2.5, math.nan, 1),
        best=Best(bits_per_dim=math.inf, step=0, images=0),
    ).markdown()
    _, tokens = parsed(text)
    assert not of_type(tokens, "image")
    assert ["last", "2.500", "1", "2,000"] in tables(tokens)
    for absent in ("run.flags", "best, in", "nan", "inf", "classes", "left out", "None"):
        assert absent not in text


def test_the_licence_of_the_data_is_stated_where_it_is_known():
    assert "Apache License 2.0" in make().markdown()
    text = make(source=source("folder", "/data/cats")).markdown()
    assert "Apache" not in text and "No licence is stated here" in text
    assert "/data" not in text


def test_all_starts_count():
    rows = tables(parsed(make(starts=[START, {**START, "seconds": 3600.0 * 2}]).markdown())[1])
    assert ["time", "2.0 hours, started 2 times"] in rows


def test_a_conditional_model_is_given_labels():
    config = glow_tf.glow((8, 8, 3), K=1, L=2, width=4, num_classes=2)
    text = make(config=config, source=source(classes=("cat", "dog")), last=Evaluation(2.5, 0.1, 9, 0.25)).markdown()
    assert "labels=[0] * 16" in text and "25.0 %" in text
    assert ["classes", "2: cat, dog"] in tables(parsed(text)[1])
    many = make(source=source(classes=tuple(map(str, range(1000))))).markdown()
    assert "1000: `0`, `1`" in many and "`19`, ..." in many and "`20`" not in many


NAMES = [
    "a | b",
    "`code` ``more``",
    "`",
    "# title",
    "two\nlines\n\n# title",
    "---",
    "```",
    "<script>alert(1)</script>",
    "![](https://example.org/x.png)",
    "*a* _b_ [c](d) @user $x$ &amp; www.example.org",
    '"quoted": {a: [b',
    "back\\slash | \\",
    "caf\udce9",
    "\u202eevil",
    "tab\tand\x1b[31m",
    "été \U0001f600",
    "  ",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_breaks_it(name):
    ordinary = make(source=source("folder", "/data/x", classes=("x",)), name="x").markdown()
    text = make(source=source("folder", f"/data/{name}", classes=(name,)), name=name).markdown()
    (metadata, tokens), (_, expected) = parsed(text), parsed(ordinary)

    assert [token.type for token in tokens] == [token.type for token in expected]
    for kind in ("image", "link_open", "html_inline"):
        assert len(of_type(tokens, kind)) == len(of_type(expected, kind)), kind
    assert text.encode("utf-8")
    assert isinstance(metadata["model-index"][0]["results"][0]["dataset"]["name"], str)
    shown = next(row[1] for row in tables(tokens) if row[0] == "classes").removeprefix("1: ")
    letters = [c for c in name if c.isascii() and c.isalnum()]
    assert [c for c in shown if c.isascii() and c.isalnum()][: len(letters)] == letters


def test_the_newest_pictures_up_to_a_step(tmp_path):
    assert card.newest_pictures(tmp_path, 100) == {}
    (tmp_path / "samples").mkdir()
    others = (".step_0000060.png.unfinished", "step_0000060 (copy).png", "step_best.png")
    for name in ("step_0000005.png", "step_0000050.png", "step_0000500.png", *others):
        (tmp_path / "samples" / name).write_bytes(b"")
    assert card.newest_pictures(tmp_path, 100) == {"samples": "samples/step_0000050.png"}


def test_it_is_written_whole(tmp_path):
    card.write(tmp_path, make())
    card.write(tmp_path, dataclasses.replace(make(), name="caf\udce9"))
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]
    assert "caf\\xe9" in (tmp_path / "README.md").read_text(encoding="utf-8")
