"""The command lines that make figures of trained models: their files, their output, and the errors they report."""

import csv
import dataclasses
import io
import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import glow_tf
from glow_tf.analysis import frechet
from glow_tf.analysis.agreement import AttributeClassifier, agreement
from glow_tf.analysis.attributes import Directions
from glow_tf.analysis.codec import Codec, draw_latents
from glow_tf.analysis.probe import linear_probe
from glow_tf.data import attributed_batches, load_attributes, load_images, load_source, split_batches
from glow_tf.dequantization import Continuous
from glow_tf.models import storage
from glow_tf.training.model_directory import TRAINING_FILE
from tests.analysis import models
from tests.commands.driver import run_commands
from tests.marks import mostly_slow, slow
from tests.models.test_storage import save_with_averages

DATA = ["--dataset=arrays", "--data_dir=images.npz"]
GREY = ["--model_dir=grey", *DATA]
LABELLED = ["--model_dir=conditional", *DATA]
# Named on a system with Latin-1 encoding, and thus not valid UTF-8.
PHOTOS = os.fsdecode(b"ph\xf6tos")
NAMED = ["--model_dir=plain", "--dataset=folder", f"--data_dir={PHOTOS}"]
TEMPERATURE = ["temperature", "--model_dir=plain", "--num=2", "--temperatures=0,1"]
# The record of a run on central crops, and on enlarged pictures, whose folder is at another place now.
AS_TRAINED = {"crop_from": 10, "upscale": True, "test_fraction": 0.5}
CROPPED = ["--model_dir=cropped", "--round_trip=0"]
# A model directory as written by training, with moving averages of the weights.
AVERAGED = ["evaluate", "--model_dir=averaged", *DATA, "--round_trip=0"]
COMMANDS = {
    "temperature": [*TEMPERATURE, "--seed=1", "--output=temperature.png"],
    "temperature again": [*TEMPERATURE, "--seed=1", "--output=again.png"],
    "temperature, another seed": [*TEMPERATURE, "--output=other_seed.png"],
    "temperature, grey": ["temperature", "--model_dir=grey", "--num=2", "--output=grey_temperature.png"],
    "temperature, labels": ["temperature", "--model_dir=conditional", "--num=3", "--output=labels_temperature.png"],
    "interpolation": ["interpolate", "--model_dir=plain", "--images=a.png,b.png", "--frames=3", "--output=path.png"],
    "chain": [
        "interpolate",
        *GREY,
        "--indices=2,0,1",
        "--kind=linear",
        "--steps=2",
        "--frames=0",
        "--output=chain.png",
    ],
    "interpolation, labels": ["interpolate", *LABELLED, "--steps=2", "--frames=2", "--output=labels_path.png"],
    "reconstruct": [
        *("reconstruct", "--model_dir=plain", *DATA, "--num=3", "--temperature=0.4", "--seed=4"),
        "--output=reconstruct.png",
    ],
    "reconstruct, grey": ["reconstruct", *GREY, "--num=1", "--output=grey_reconstruct.png"],
    "reconstruct, labels": ["reconstruct", *LABELLED, "--output=labels_reconstruct.png"],
    "nearest": [
        *("nearest", "--model_dir=plain", "--dataset=arrays", "--data_dir=memorised.npz", "--num=2", "--neighbours=2"),
        *("--limit=30", "--temperature=0.6", "--seed=3", "--output=nearest.png"),
    ],
    "nearest, labels": ["nearest", *LABELLED, "--num=2", "--label=1", "--output=labels_nearest.png"],
    "outliers": [
        *("outliers", "--model_dir=plain", *DATA, "--outliers=people", "--limit=20", "--seed=2"),
        "--output=outliers.png",
    ],
    "outliers, grey": ["outliers", *GREY, "--outliers=people", "--limit=8", "--output=grey_outliers.png"],
    "outliers, labels": [
        *("outliers", *LABELLED, "--outliers=arrays", "--outliers_dir=images.npz", "--output=labels_outliers.png"),
    ],
    "evaluate": ["evaluate", "--model_dir=plain", *DATA, "--samples=3", "--seed=5", "--csv=scores.csv"],
    "evaluate, averages": [*AVERAGED, "--csv=ema.csv"],
    "evaluate, no averages": [*AVERAGED, "--weights=raw", "--csv=raw.csv"],
    "export, averages": ["export", "--model_dir=flat_averaged", "--output=served/ema"],
    "export, no averages": ["export", "--model_dir=flat_averaged", "--weights=raw", "--output=served/raw"],
    "evaluate, names": ["evaluate", *NAMED, "--split=train", "--round_trip=0", "--csv=names.csv"],
    "outliers, names": [
        *("outliers", *NAMED, "--outliers=folder", f"--outliers_dir={PHOTOS}", "--split=train", "--output=names.png"),
    ],
    "attributes, names": ["attributes", *NAMED, "--output=names.npz"],
    "manipulate, names": [
        *("manipulate", "--model_dir=plain", "--attributes=names.npz", os.fsdecode(b"--names=caf\xe9")),
        *(f"--images={PHOTOS}/a/{os.fsdecode(b'b' + bytes([0xE9]))}0.png", "--output=names_moved.png"),
    ],
    "export, cropped": ["export", "--model_dir=cropped", "--output=served/cropped", "--max_megapixels=0.0005"],
    "export, cropped again": ["export", "--model_dir=served/cropped", "--output=served/cropped_again"],
    "scores, served": ["evaluate", "--model_dir=served/cropped", "--images=large.jpg", "--csv=served.csv"],
    "export, names": ["export", "--model_dir=plain", "--attributes=names.npz", "--output=served/names"],
    "evaluate, one image": ["evaluate", "--model_dir=plain", *DATA, "--limit=1", "--round_trip=1", "--csv=one.csv"],
    "evaluate, raw": ["evaluate", "--model_dir=plain", *DATA, "--weights=raw", "--round_trip=0"],
    "evaluate, grey": ["evaluate", *GREY, "--split=train", "--limit=5"],
    "evaluate, labels": ["evaluate", *LABELLED, "--round_trip=2"],
    "evaluate, classifier": ["evaluate", "--model_dir=classifier", *DATA, "--round_trip=0", "--csv=classes.csv"],
    "scores": ["evaluate", "--model_dir=plain", "--images=a.png,large.jpg,album", "--csv=pictures.csv"],
    "scores, one": ["evaluate", "--saved_model=plain", "--images=a.png", "--exact"],
    "scores, enlarged": ["evaluate", "--model_dir=plain", "--images=tiny.png", "--upscale", "--crop_from=9"],
    "scores, cropped": ["evaluate", *CROPPED, "--images=large.jpg,tiny.png", "--csv=cropped.csv"],
    "evaluate, cropped": ["evaluate", *CROPPED, "--dataset=folder", "--data_dir=moved", "--csv=moved.csv"],
    "reconstruct, cropped": ["reconstruct", "--model_dir=cropped", "--images=large.jpg", "--output=cropped.png"],
    "outliers, cropped": [
        *("outliers", "--model_dir=cropped", "--data_dir=moved", "--outliers=folder", "--outliers_dir=moved"),
        *("--split=train", "--output=cropped_outliers.png"),
    ],
    "reconstruct, a label": [
        *("reconstruct", "--model_dir=conditional", "--dataset=arrays", "--data_dir=memorised.npz", "--label=1"),
        "--output=one_label.png",
    ],
    "scores, label": ["evaluate", "--model_dir=conditional", "--images=a.png", "--label=2", "--csv=labelled.csv"],
    "fid": ["fid", "--model_dir=plain", *DATA, "--test_size=10", "--num=12", "--temperature=0.4", "--seed=2"],
    "fid, labels": ["fid", *LABELLED, "--limit=4", "--split=train"],
    "attributes": ["attributes", "--model_dir=plain", *DATA, "--output=directions.npz"],
    "attributes of a table": ["attributes", "--model_dir=plain", *DATA, "--table=table.csv", "--output=table.npz"],
    "attributes, labels": ["attributes", *LABELLED, "--names=0,2", "--output=labels.npz"],
    "manipulate": [
        *("manipulate", "--model_dir=plain", *DATA, "--attributes=directions.npz", "--indices=1"),
        *("--amounts=-1,0,0.5", "--strength=0.4", "--output=manipulate.png"),
    ],
    "manipulate, labels": [
        *(
            "manipulate",
            "--model_dir=conditional",
            "--attributes=labels.npz",
            "--images=a.png",
            "--label=1",
            "--output=labels_moved.png",
        ),
    ],
    "probe": ["probe", "--model_dir=plain", *DATA],
    "probe, grey": ["probe", *GREY, "--limit=20"],
    "export": ["export", "--model_dir=plain", "--attributes=directions.npz", "--output=served/plain/1"],
    "export again": ["export", "--model_dir=grey", "--output=served/grey"],
    "export over it": ["export", "--model_dir=grey", "--output=served/grey"],
    "export, vectors": ["export", "--model_dir=flat", "--output=served/flat"],
    "export, no gradients": ["export", "--model_dir=flat", "--nogradients", "--output=served/small"],
    "export, labels": ["export", "--model_dir=conditional", "--output=served/conditional"],
    "a sample of the exported": ["sample", "--model_dir=served/plain/1", "--num=2", "--output=served.png"],
    "the same sample": ["sample", "--model_dir=plain", "--num=2", "--output=not_served.png"],
    "attributes, grey": ["attributes", *GREY, "--output=grey.npz"],
    "manipulate, grey": [
        *("manipulate", *GREY, "--attributes=grey.npz", "--names=1", "--num=2", "--output=grey_moved.png"),
    ],
    "check, grey": ["attribute_check", *GREY, "--attributes=grey.npz", "--epochs=1", "--output=grey.md"],
    "check, labels": ["attribute_check", *LABELLED, "--attributes=labels.npz", "--epochs=1", "--output=labels.md"],
    "nearest, grey": ["nearest", *GREY, "--num=1", "--output=grey_nearest.png"],
    "set": [
        *("manipulate", "--model_dir=plain", *DATA, "--attributes=directions.npz", "--set=0:0.5,1:-1"),
        *("--num=2", "--output=set.png"),
    ],
    "check": [
        *("attribute_check", "--model_dir=plain", *DATA, "--attributes=directions.npz", "--epochs=1"),
        *("--names=0,1", "--output=check.md"),
    ],
    "check, sorted": [
        *("attribute_check", "--model_dir=plain", "--dataset=arrays", "--data_dir=sorted.npz", "--train_images=9"),
        *("--attributes=directions.npz", "--test_images=2", "--epochs=1", "--strength=0.4", "--seed=1"),
        "--output=sorted.md",
    ],
}
# About one command per tool; the others run with the slow tests.
QUICK = (
    *("temperature", "interpolation", "reconstruct", "nearest", "outliers", "evaluate", "attributes", "manipulate"),
    *("probe", "export, vectors", "scores", "scores, one", "fid", "check, sorted"),
    *("scores, cropped", "evaluate, cropped", "reconstruct, cropped"),
    *("export, cropped", "export, cropped again", "scores, served"),
    *("evaluate, averages", "evaluate, no averages", "export, averages", "export, no averages"),
)
ERRORS = {
    "a probe of a conditional model": (["probe", *LABELLED], "is given the labels"),
    "an export to the name of a bundled model": (
        ["export", "--model_dir=plain", "--output=pretrained"],
        "--output=pretrained is the name of a model that ships",
    ),
    "an export over something else": (["export", "--model_dir=plain", "--output=plain"], "is not a SavedModel"),
    "an export with directions of another model": (
        ["export", "--model_dir=grey", "--attributes=directions.npz", "--output=served/other"],
        "belongs to another model",
    ),
    "scores of pictures that are not there": (
        ["evaluate", "--model_dir=plain", "--images=a.png,x.png,y.png"],
        "--images: x.png, y.png are not there",
    ),
    "scores of what is no picture": (
        ["evaluate", "--model_dir=plain", "--images=a.png,table.csv,tiny.png"],
        "table.csv (UnidentifiedImageError",
    ),
    "scores of pictures of another size": (
        ["evaluate", "--model_dir=plain", "--images=a.png,large.jpg", "--exact"],
        "large.jpg (20x24, and --exact takes 8x8 alone)",
    ),
    "scores of pictures and of a data set": (
        ["evaluate", "--model_dir=plain", *DATA, "--images=a.png"],
        "--dataset goes with a data set, not with --images",
    ),
    "scores of pictures and of a split": (
        ["evaluate", "--model_dir=plain", "--images=a.png", "--split=test"],
        "--split goes with a data set, not with --images",
    ),
    "enlarged scores of pictures of the model's size": (
        ["evaluate", "--model_dir=plain", "--images=a.png", "--exact", "--upscale"],
        "--upscale is for pictures of other sizes, which --exact refuses",
    ),
    "scores of a picture that was too large in training": (
        ["evaluate", "--model_dir=recorded", "--images=large.jpg"],
        "--max_megapixels=0.0003 allows no more",
    ),
    "scores by labels that are not there": (
        ["evaluate", "--model_dir=conditional", "--dataset=arrays", "--data_dir=memorised.npz"],
        "This model is conditional, and arrays has no labels",
    ),
    "scores by labels of other data": (
        ["evaluate", "--model_dir=conditional", "--dataset=arrays", "--data_dir=digits.npz"],
        "arrays has 2 classes and the model 3",
    ),
    "weights of a SavedModel": (
        ["evaluate", "--model_dir=served/flat", *DATA, "--weights=raw"],
        "--weights is for model directories; served/flat is a SavedModel",
    ),
    "an export of weights of a SavedModel": (
        ["export", "--model_dir=served/flat", "--weights=ema", "--output=served/other"],
        "--weights is for model directories",
    ),
    "scores over a table": (
        ["evaluate", "--model_dir=plain", *DATA, "--csv=table.csv"],
        "--csv=table.csv is there and is no .csv file that this command writes",
    ),
    "scores of pictures without a label": (
        ["evaluate", "--model_dir=conditional", "--images=a.png"],
        "need their --label",
    ),
    "exact scores of a data set": (["evaluate", "--model_dir=plain", *DATA, "--exact"], "--exact is for --images"),
    "a model by both names of the flag": (
        ["evaluate", "--model_dir=plain", "--saved_model=grey", *DATA],
        "--model_dir and --saved_model are one flag",
    ),
    "a distance of one image": (["fid", "--model_dir=plain", *DATA, "--limit=1"], "needs at least two images"),
    "a distance to other labels": (["fid", "--model_dir=conditional", "--dataset=people"], "6 classes and the model 3"),
    "no weights of Inception": (
        ["fid", "--model_dir=plain", *DATA, "--inception_weights=nowhere.h5"],
        "--inception_weights=nowhere.h5 is not a file",
    ),
    "a picture of an unknown kind": (
        ["temperature", "--model_dir=nowhere", "--output=a.webp"],
        "--output=a.webp must end with .png",
    ),
    "a picture in the place of something else": (
        ["reconstruct", "--model_dir=nowhere", "--output=notes.png"],
        "--output=notes.png is there and is no .png file",
    ),
    "an animation in the place of something else": (
        ["interpolate", "--model_dir=nowhere", "--output=notes.jpg"],
        "--output=notes.gif is there and is no .gif file",
    ),
    "histograms as a photograph": (
        ["outliers", "--model_dir=nowhere", "--outliers=people", "--output=a.jpg"],
        "--output=a.jpg must end with .png, .svg",
    ),
    "histograms in the place of a table": (
        ["outliers", "--model_dir=nowhere", "--outliers=people", "--output=table.csv"],
        "--output=table.csv must end with .png, .svg",
    ),
    "a plot in the place of a folder": (["memory", "--output=album/"], "--output=album/ is a folder"),
    "directions in the place of images": (
        ["attributes", "--model_dir=nowhere", "--output=images.npz"],
        "--output=images.npz is there and is no .npz file that this command writes",
    ),
    "a judgement by too few images": (
        ["attribute_check", "--model_dir=plain", *DATA, "--attributes=directions.npz", "--train_images=1"],
        "0 (1 with, 0 without), 1 (0 with, 1 without), 2 (0 with, 1 without)",
    ),
    "a judgement in the place of directions": (
        ["attribute_check", "--model_dir=plain", *DATA, "--attributes=directions.npz", "--output=directions.npz"],
        "--output=directions.npz must end with .md",
    ),
    "an export into a file": (
        ["export", "--model_dir=nowhere", "--output=notes.png/1"],
        "--output=notes.png/1 cannot be written: notes.png is not a folder",
    ),
    "an experiment in the place of a file": (
        ["ablation", "--dataset=nothing", "--output=notes.png"],
        "--output=notes.png cannot be written: notes.png is not a folder",
    ),
    "no data": (["evaluate", "--model_dir=plain"], "does not say what the model was trained on; set --dataset"),
    "a share and a number to hold out": (
        ["evaluate", "--model_dir=plain", *DATA, "--test_fraction=0.5", "--test_size=4"],
        "set one of them",
    ),
    "a share in place of the recorded number to hold out": (
        ["reconstruct", "--model_dir=recorded", "--test_fraction=0.5", "--indices=7,20"],
        "has no image 20",
    ),
    "the test split of other data than was recorded": (
        ["reconstruct", "--model_dir=recorded", "--data_dir=split.npz", "--indices=2,3"],
        "has no image 3",
    ),
    "fewer images than the recorded number to hold out": (
        ["reconstruct", "--model_dir=recorded", "--data_dir=few.npz", "--indices=0,1"],
        "has no image 1",
    ),
    "no model": (["temperature", "--model_dir=nowhere"], "nowhere"),
    "flat vectors": (["temperature", "--model_dir=flat"], "flat vectors"),
    "scores of real numbers": (
        ["evaluate", "--model_dir=real", *DATA],
        "a model of real numbers, which have no picture",
    ),
    "samples of real numbers": (["temperature", "--model_dir=real"], "a model of real numbers, which have no picture"),
    "a temperature that is none": (["temperature", "--model_dir=plain", "--temperatures=warm"], "must be finite"),
    "a temperature without bounds": (
        ["temperature", "--model_dir=nowhere", "--temperatures=1,inf"],
        "--temperatures=1,inf must be finite numbers",
    ),
    "no number of steps": (["memory", "--depths=nan"], "--depths=nan must be finite numbers"),
    "a number of labels without bounds": (
        ["semi_supervised", "--dataset=nothing", "--labels_per_class=1,inf"],
        "--labels_per_class=1,inf must be finite numbers",
    ),
    "a cold temperature": (["temperature", "--model_dir=plain", "--temperatures=-1"], "at least 0"),
    "one image": (["interpolate", "--model_dir=plain", "--images=a.png"], "at least two images"),
    "a picture that is not there": (
        ["interpolate", "--model_dir=plain", "--images=a.png,x.png"],
        "x.png cannot be used",
    ),
    "new latents of a model with one level": (
        ["reconstruct", "--model_dir=one_level", *DATA, "--temperature=0.4"],
        "--temperature is for resampled levels: this model has one, which is kept",
    ),
    "a seed of a model with one level": (
        ["reconstruct", "--model_dir=one_level", *DATA, "--seed=0"],
        "--seed is for resampled levels",
    ),
    "no picture": (["reconstruct", "--model_dir=plain", "--images=table.csv"], "table.csv cannot be used"),
    "a picture that is too small": (["reconstruct", "--model_dir=plain", "--images=tiny.png"], "smaller than 8x8"),
    "a picture by its name and by its number": (
        ["reconstruct", "--model_dir=plain", "--images=a.png", "--indices=1"],
        "--indices goes with a data set, not with --images",
    ),
    "a picture and a data set": (
        ["interpolate", "--model_dir=nowhere", "--images=a.png", *DATA],
        "--dataset goes with a data set, not with --images",
    ),
    "numbers of images and how many": (
        ["reconstruct", "--model_dir=nowhere", "--indices=1", "--num=1"],
        "--num is for the first images of a split, not for --indices",
    ),
    "a number that is none": (["reconstruct", "--model_dir=plain", *DATA, "--indices=one"], "--indices=one"),
    "a number out of range": (["reconstruct", "--model_dir=plain", *DATA, "--indices=99"], "has no image 99"),
    "a picture without a label": (["reconstruct", "--model_dir=conditional", "--images=a.png"], "need their --label"),
    "a label out of range": (["nearest", *LABELLED, "--label=3"], "--label=3 must be less than 3"),
    "a label that is not taken": (
        ["temperature", "--model_dir=plain", "--label=0"],
        "--label is for conditional models",
    ),
    "nothing to tell from": (["outliers", "--model_dir=plain", *DATA], "--outliers names the data set"),
    "outliers without labels": (["outliers", *LABELLED, "--outliers=people"], "no labels from 0 to 2"),
    "no directions": (["manipulate", "--model_dir=plain", "--images=a.png"], "attributes.npz is not there"),
    "directions of another model": (
        ["manipulate", "--model_dir=grey", "--images=a.png", "--attributes=directions.npz"],
        "belongs to another model",
    ),
    "no such attribute": (
        ["manipulate", "--model_dir=plain", *DATA, "--attributes=directions.npz", "--names=smile"],
        "no attribute 'smile'; there are 0, 1, 2",
    ),
    "an amount that is none": (
        ["manipulate", "--model_dir=plain", *DATA, "--attributes=directions.npz", "--set=0"],
        "--set=0 must be name:amount",
    ),
    "an amount without bounds": (
        ["manipulate", "--model_dir=plain", *DATA, "--attributes=directions.npz", "--set=0:inf"],
        "--set=0:inf must be name:amount",
    ),
    "amounts of a strip and of a combination": (
        ["manipulate", "--model_dir=nowhere", "--set=0:1", "--amounts=0,1"],
        "--amounts is for a strip for each attribute, not for --set",
    ),
    "names of a strip and of a combination": (
        ["manipulate", "--model_dir=nowhere", "--set=0:1", "--names=1"],
        "--names is for a strip for each attribute, not for --set",
    ),
    "a table of other images": (
        ["attributes", "--model_dir=plain", *DATA, "--table=other.csv"],
        "names none of the images: it begins with 'x.jpg', the images with '0'",
    ),
    "no table": (["attributes", "--model_dir=plain", *DATA, "--table=nowhere.csv"], "nowhere.csv is not a file"),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The directory the quick commands ran in, and for each of them its exit code, stdout and stderr."""
    return run(tmp_path_factory.mktemp("work"), QUICK)


@pytest.fixture(scope="module")
def all_work(tmp_path_factory):
    """Like `work`, for all commands."""
    return run(tmp_path_factory.mktemp("all_work"), COMMANDS)


def run(directory, names):
    for name in models.CONFIGS:
        glow_tf.save(models.flow(name), directory / name)
    glow_tf.save(glow_tf.Flow(glow_tf.nice((8, 8, 3), K=2, width=4, blocks=1)), directory / "one_level")
    flat = glow_tf.Flow(glow_tf.nice((16,), K=2, width=4, blocks=1))
    glow_tf.save(flat, directory / "flat")
    real = glow_tf.nice((8, 8, 3), K=2, width=4, blocks=1, dequantizer=Continuous())
    glow_tf.save(glow_tf.Flow(real), directory / "real")
    for name, flow in (("averaged", models.flow()), ("flat_averaged", flat)):
        averages = {path: v + 0.1 for path, v in flow.named_variables(trainable=True).items()}
        save_with_averages(flow, averages, directory / name)
    np.savez(directory / "images.npz", images=models.images(40), labels=np.arange(40) % 3)
    np.savez(directory / "split.npz", x_train=models.images(5), x_test=models.images(3))
    np.savez(directory / "few.npz", images=models.images(4))
    np.savez(directory / "memorised.npz", images=with_memorised(models.images(40)))
    by_class = {"labels": np.arange(36) // 12, "test_labels": np.arange(9) // 3}
    np.savez(directory / "sorted.npz", images=models.images(36), test_images=models.images(9, seed=1), **by_class)
    glow_tf.save(models.flow(), directory / "recorded")
    source = {"name": "arrays", "data_dir": str(directory / "images.npz"), "test_size": 4}
    record(directory / "recorded", source=source, flags={"max_megapixels": 0.0003})
    glow_tf.save(models.flow(), directory / "cropped")
    record(directory / "cropped", source={"name": "folder", "data_dir": "/nowhere", "image_size": 8, **AS_TRAINED})
    np.savez(directory / "digits.npz", images=models.images(9), labels=[3, 7, 3] * 3)
    for name, picture in zip("ab", models.images(2, seed=1), strict=True):
        Image.fromarray(picture).save(directory / f"{name}.png")
    for folder in (os.fsdecode(b"caf\xe9"), "a"):
        (directory / PHOTOS / folder).mkdir(parents=True)
        for i, picture in enumerate(models.images(4)):
            Image.fromarray(picture).save(directory / PHOTOS / folder / os.fsdecode(b"b\xe9%d.png" % i))
    Image.new("RGB", (4, 4)).save(directory / "tiny.png")
    Image.fromarray(np.random.default_rng(5).integers(0, 256, [20, 24, 3], np.uint8)).save(directory / "large.jpg")
    (directory / "moved").mkdir()
    for i, picture in enumerate(np.random.default_rng(6).integers(0, 256, [20, 16, 20, 3], np.uint8)):
        Image.fromarray(picture).save(directory / "moved" / f"{i}.png")
    (directory / "album" / "inside").mkdir(parents=True)
    for name in ("c.png", "inside/d.png", ".hidden.png"):
        Image.fromarray(models.images(1, seed=len(name))[0]).save(directory / "album" / name)
    for name in ("album/broken.png", "notes.png", "notes.gif"):
        (directory / name).write_text("milk, eggs")
    rows = "".join(f"{i},{i % 2},{(i // 2) % 2 * 2 - 1}\n" for i in range(36))
    (directory / "table.csv").write_text(f"image,odd,pair\n{rows}")
    (directory / "other.csv").write_text("image,odd\nx.jpg,1\ny.jpg,0\n")
    commands = {name: arguments for name, arguments in COMMANDS.items() if name in names}
    commands |= {name: arguments for name, (arguments, _) in ERRORS.items()}
    return directory, run_commands(directory, commands)


def record(directory, **fields):
    """Writes the record of a run."""
    (directory / TRAINING_FILE).write_text(json.dumps({"optimizer": "", "ema_decay": 0, **fields}))


def sampled():
    """The samples of `nearest`."""
    return Codec(models.flow()).decode(np.float32(0.6) * draw_latents(models.flow(), 2, seed=3))


def with_memorised(images):
    """Images, of which 5 and 7 have the levels of the samples, at 5 bits, and other values of 8 bits."""
    others = np.random.default_rng(9).integers(0, 8, [2, *images.shape[1:]], np.uint8)
    images[[5, 7]] = models.quantized(sampled(), 5) + others
    return images


@pytest.mark.parametrize("name", mostly_slow(COMMANDS, QUICK))
def test_it_does_what_it_is_asked(request, name):
    directory, results = request.getfixturevalue("work" if name in QUICK else "all_work")
    code, out, err = results[name]
    assert (code, "error:" in err) == (0, False), err
    for argument in COMMANDS[name]:
        if argument.startswith(("--output=", "--csv=")):
            file = argument.partition("=")[2]
            assert (directory / file).stat().st_size and file in out.splitlines()
            if file.endswith(".png"):
                with Image.open(directory / file) as picture:
                    assert np.asarray(picture).std() > 5


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_wrong_is_one_line(work, name):
    code, out, err = work[1][name]
    assert code == 1
    assert err.startswith("error: ") and ERRORS[name][1] in err
    assert err.count("\n") == 1


def shows(directory, file, pictures, scale=12):
    """Returns whether a figure shows all of these pictures, enlarged."""
    with Image.open(directory / file) as opened:
        canvas = np.asarray(opened.convert("RGB"))[..., :]
    found = np.lib.stride_tricks.sliding_window_view(canvas, (8 * scale, 8 * scale), axis=(0, 1))[..., ::scale, ::scale]
    return all((found == np.broadcast_to(p, (8, 8, 3)).transpose(2, 0, 1)).all(axis=(2, 3, 4)).any() for p in pictures)


@pytest.mark.slow
def test_the_seed_determines_the_figure(all_work):
    a, b, c = ((all_work[0] / f"{name}.png").read_bytes() for name in ("temperature", "again", "other_seed"))
    assert a == b != c


def test_the_same_noise_is_drawn_at_each_temperature(work):
    z = draw_latents(models.flow(), 2, seed=1)
    samples = Codec(models.flow()).decode(np.concatenate([0 * z[:1], z]))
    assert shows(work[0], "temperature.png", models.displayed(samples, 5))


def bits_of(directory, file):
    with (directory / file).open(newline="") as opened:
        return [float(row["bits_per_dim"]) for row in csv.DictReader(opened)]


def test_a_model_is_of_the_averages_unless_asked_for_the_weights_themselves(work):
    directory, results = work
    held_out = models.images(40)[36:]
    for weights, described in (("ema", "ema weights"), ("raw", "raw weights")):
        expected = storage.load(directory / "averaged", weights=weights).bits_per_dim(held_out)
        np.testing.assert_allclose(bits_of(directory, f"{weights}.csv"), expected, atol=1e-4)
        name = "evaluate, averages" if weights == "ema" else "evaluate, no averages"
        assert f"\ntest split, {described}\n" in results[name][1]
        served = glow_tf.load(directory / "served" / weights).named_variables()
        expected = storage.load(directory / "flat_averaged", weights=weights).named_variables()
        assert served.keys() == expected.keys()
        for path, variable in expected.items():
            np.testing.assert_array_equal(served[path], variable, err_msg=path)
    assert np.all(np.abs(np.subtract(bits_of(directory, "ema.csv"), bits_of(directory, "raw.csv"))) > 1e-3)


def test_a_path_begins_and_ends_with_the_images(work):
    directory, _ = work
    assert shows(directory, "path.png", models.displayed(models.images(2, seed=1), 5))
    with Image.open(directory / "path.gif") as file:
        # Three steps to the second image, and back without repeating either end.
        assert file.n_frames == 4 + 2


@pytest.mark.slow
def test_a_chain_goes_through_the_images_in_the_order_asked_for(all_work):
    """The split holds out the last four of forty images; the grey model sees their luminance."""
    with Image.open(all_work[0] / "chain.png") as file:
        width = file.width
    # Five images, each 96 pixels wide.
    assert 5 * 96 < width < 6 * 96 + 60


def test_a_reconstruction_is_beside_its_original(work):
    held_out = models.images(40)[36:39]
    assert shows(work[0], "reconstruct.png", models.displayed(held_out, 5))
    # The original is also shown at the model's bit depth.
    assert not shows(work[0], "reconstruct.png", held_out[:1])
    assert not shows(work[0], "reconstruct.png", models.images(1))
    # The finest level, 96 of 192 dimensions, is drawn anew.
    codec = Codec(models.flow())
    z, new = codec.encode(held_out), np.float32(0.4) * draw_latents(models.flow(), 3, seed=4)
    resampled = codec.decode(np.concatenate([new[:, :96], z[:, 96:]], axis=1))
    assert shows(work[0], "reconstruct.png", models.displayed(resampled, 5))


def test_the_neighbours_are_training_images(work):
    directory, results = work
    images = with_memorised(models.images(40))
    samples, train, held_out = (models.displayed(some, 5) for some in (sampled(), images[:30], images[[36, 39]]))
    squares = ((np.concatenate([samples, held_out])[:, np.newaxis].astype(float) - train) ** 2).mean(axis=(2, 3, 4))
    assert squares[:2].argmin(axis=1).tolist() == [5, 7]
    shown = [*samples, *train[squares[:2].argsort(axis=1)[:, :2].ravel()]]
    assert shows(directory, "nearest.png", np.stack(shown))
    assert "the nearest of 30 training images" in results["nearest"][1]
    pixels = re.search(r"in pixels: samples ([\d.]+), held-out images ([\d.]+)", results["nearest"][1])
    assert float(pixels[1]) == 0
    assert float(pixels[2]) == pytest.approx(np.median(np.sqrt(squares[2:].min(axis=1))), rel=5e-3)


def test_the_scores_of_a_file_have_the_mean_that_is_printed(work):
    directory, results = work
    rows = list(csv.DictReader(io.StringIO((directory / "scores.csv").read_text())))
    assert [row["image"] for row in rows] == ["0", "1", "2", "3"]
    # Of three draws of the noise, of which the first counts.
    draws = [models.flow().bits_per_dim(models.images(40)[36:], seed=seed).numpy() for seed in (5, 6, 7)]
    np.testing.assert_allclose([float(row["bits_per_dim"]) for row in rows], draws[0], atol=1e-4)
    bound = np.log2(3) / 192 - np.logaddexp2.reduce(-192 * np.array(draws, np.float64)) / 192
    np.testing.assert_allclose([float(row["importance_weighted"]) for row in rows], bound, atol=1e-4)
    text = results["evaluate"][1]
    for column, line in (("bits_per_dim", "bits/dim"), ("importance_weighted", "over 3 draws")):
        values = np.array([float(row[column]) for row in rows])
        mean, error = re.search(rf"{line}: ([\d.]+) \+- ([\d.]+)", text).groups()
        assert float(mean) == pytest.approx(values.mean(), abs=1e-4)
        assert float(error) == pytest.approx(values.std(ddof=1) / 2, abs=1e-4)
    assert "4 of 4 images are reconstructed exactly at 5 bits" in text
    # Written by `glow_tf.save`, which writes no averages.
    assert "\ntest split, the checkpoint's only weights\nUniform dequantization, 3 draws an image\n" in text


@slow
def test_the_label_error_is_that_of_the_predicted_labels(all_work):
    directory, results = all_work
    rows = list(csv.DictReader((directory / "classes.csv").read_text().splitlines()))
    wrong = np.array([int(row["predicted_label"]) != int(row["image"]) % 3 for row in rows])
    text = results["evaluate, classifier"][1]
    mean, error = re.search(r"^label error: ([\d.]+) \+- ([\d.]+) %$", text, re.M).groups()
    assert float(mean) == pytest.approx(100 * wrong.mean(), abs=0.06)
    assert float(error) == pytest.approx(100 * wrong.std(ddof=1) / np.sqrt(len(rows)), abs=0.06)
    assert "label error" not in results["evaluate, grey"][1]


def test_scores_of_pictures_are_those_of_their_pixels(work):
    directory, results = work
    rows = {row["image"]: row for row in csv.DictReader((directory / "pictures.csv").read_text().splitlines())}
    assert list(rows) == ["a.png", "large.jpg", "album/c.png", "album/inside/d.png"]
    pixels = [
        *(models.images(2, seed=1)[:1], load_images([str(directory / "large.jpg")], (8, 8, 3))),
        *(models.images(1, seed=len(name)) for name in ("c.png", "inside/d.png")),
    ]
    expected = models.flow().bits_per_dim(np.concatenate(pixels)).numpy()
    np.testing.assert_allclose([float(row["bits_per_dim"]) for row in rows.values()], expected, atol=1e-4)
    assert {"importance_weighted", "latent_nats_per_dim", "prior/level_2"} <= rows["a.png"].keys()
    _, out, err = results["scores"]
    assert "(4 images)" in out
    assert "1 image left out:\n  album/broken.png: " in err
    one = results["scores, one"][1]
    assert f"\nbits/dim: {expected[0]:.4f} (1 image)\n" in one and "nan" not in one
    assert one.splitlines()[-1].split() == [f"{expected[0]:.4f}", "a.png"]


def test_other_pictures_are_cropped_enlarged_and_held_out_as_in_training(work):
    directory, _ = work
    pictures = []
    for name in ("large.jpg", "tiny.png"):
        (whole,) = load_images([directory / name], (10, 10, 3), upscale=True)
        pictures.append(whole[1:9, 1:9])
    np.testing.assert_allclose(
        bits_of(directory, "cropped.csv"), models.flow().bits_per_dim(np.stack(pictures)), atol=1e-4
    )
    assert shows(directory, "cropped.png", models.displayed(np.stack(pictures[:1]), 5))
    held_out = load_source("folder", data_dir=str(directory / "moved"), image_size=8, **AS_TRAINED)
    with (directory / "moved.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == held_out.names["test"]
    (whole,) = load_images([directory / "moved" / held_out.names["test"][0]], (10, 10, 3))
    expected = models.flow().bits_per_dim(whole[np.newaxis, 1:9, 1:9])
    np.testing.assert_allclose(bits_of(directory, "moved.csv")[:1], expected, atol=1e-4)


def test_savedmodels_crop_pictures_as_in_training_and_so_do_those_exported_from_them(work):
    directory, _ = work
    (whole,) = load_images([directory / "large.jpg"], (10, 10, 3))
    cropped = whole[np.newaxis, 1:9, 1:9]
    np.testing.assert_allclose(bits_of(directory, "served.csv"), models.flow().bits_per_dim(cropped), atol=1e-4)
    file = (directory / "large.jpg").read_bytes()
    too_large = io.BytesIO()
    Image.new("RGB", (30, 20)).save(too_large, "PNG")
    for name in ("cropped", "cropped_again"):
        served = tf.saved_model.load(str(directory / "served" / name))
        np.testing.assert_array_equal(served.encode_bytes([file])["latents"], served.encode(cropped)["latents"])
        with pytest.raises(tf.errors.InvalidArgumentError, match="at most 500 pixels"):
            served.encode_bytes([too_large.getvalue()])


def frechet_distance(a, b):
    """The squared distance between Gaussians with the moments of rows, by the eigenvalues of C_a C_b."""
    covariances = np.cov(a.T), np.cov(b.T)
    overlap = np.sqrt(np.maximum(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0)).sum()
    return ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + sum(map(np.trace, covariances)) - 2 * overlap


def test_distances_of_samples_stand_beside_those_of_images(work):
    out = work[1]["fid"][1]
    assert out.startswith("12 samples at temperature 0.4, and 30 train images, to 10 test images of images\n")
    rows = re.findall(r"^\| (.+) \| (\d+) \| (.+) \| (.+) \| (.+) \| (.+) \|$", out, re.MULTILINE)
    assert [row[:2] for row in rows] == [("level 1", "12"), ("level 2", "24"), ("all levels", "36")]
    flow, pictures = models.flow(), models.images(40)
    samples, train, test = (
        [feature.numpy().mean(axis=(1, 2), dtype=np.float64) for feature in flow.features(images)]
        for images in (flow.sample(12, 0.4, seed=2), pictures[:30], pictures[30:])
    )
    for level, row in enumerate(rows):
        # The last row is of all levels together.
        s, a, b = (np.concatenate(f[level : level + 1] or f, axis=1) for f in (samples, train, test))
        found = [float(value) for value in row[2:]]
        assert found[0::2] == pytest.approx([frechet_distance(s, b), frechet_distance(a, b)], rel=0.01)
        # Printed with two digits.
        assert found[1::2] == pytest.approx([frechet.bias(np.cov(b.T), n, 10) for n in (12, 30)], rel=0.06)
    assert "no more images than dimensions of level 1, level 2, all levels" in out
    assert "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5" in out


def test_outliers_are_those_of_the_other_data_set(work):
    directory, results = work
    own = models.images(40)[36:]
    people = load_source("people", image_size=8)
    other = next(split_batches(people, "test", 20).as_numpy_iterator())["images"]
    inside, outside = (models.flow().likelihood(x, seed=2) for x in (own, other))
    # The log-density of a latent of 192 dimensions beside its mean under the standard normal distribution.
    entropy = 0.5 * np.log(2 * np.pi * np.e)
    for kind, scores in (
        ("bits/dim", [found.bits_per_dim.numpy() for found in (inside, outside)]),
        ("typicality", [np.abs(found.log_prob_of_latents.numpy() / 192 + entropy) for found in (inside, outside)]),
    ):
        area, *means = re.search(
            rf"^{kind}: AUROC (\S+) \(images (\S+), people (\S+)\)$", results["outliers"][1], re.M
        ).groups()
        assert float(area) == pytest.approx(np.mean(scores[1][:, np.newaxis] > scores[0]), abs=1e-4)
        assert [float(mean) for mean in means] == pytest.approx([values.mean() for values in scores], abs=2e-4)


@pytest.mark.slow
def test_an_evaluation_may_leave_out_round_trips_and_be_of_some_images(all_work):
    _, results = all_work
    assert "round trip" not in results["evaluate, raw"][1]
    assert "(5 images)" in results["evaluate, grey"][1]


@pytest.mark.slow
def test_one_image_has_no_error(all_work):
    out = all_work[1]["evaluate, one image"][1]
    assert re.search(r"^bits/dim: \d+\.\d{4} \(1 image\)$", out, re.MULTILINE)
    assert "1 of 1 image is reconstructed exactly" in out
    assert "nan" not in out + (all_work[0] / "one.csv").read_text()


@pytest.mark.slow
def test_a_file_of_scores_is_utf8_whatever_the_images_are_called(all_work):
    with (all_work[0] / "names.csv").open(encoding="utf-8", newline="") as file:
        names = {row["image"] for row in csv.DictReader(file)}
    assert 0 < len(names) and names <= {rf"{folder}/b\xe9{i}.png" for folder in ("a", r"caf\xe9") for i in range(4)}


def test_directions_are_of_the_training_images(work):
    directory, results = work
    found = Directions.load(directory / "directions.npz")
    assert found.names == ("0", "1", "2")
    assert found.positives.tolist() == [12, 12, 12]
    assert "1: 12 images with, 24 without" in results["attributes"][1]


@pytest.mark.slow
def test_directions_of_a_table(all_work):
    directory, _ = all_work
    table = Directions.load(directory / "table.npz")
    assert (table.names, table.positives.tolist()) == (("odd", "pair"), [18, 18])


def test_the_manipulated_image_is_there_unmoved_and_moved(work):
    image, codec = models.images(40)[37:38], Codec(models.flow())
    assert shows(work[0], "manipulate.png", models.displayed(image, 5))
    vectors = Directions.load(work[0] / "directions.npz").vectors
    moved = codec.decode(np.concatenate([codec.encode(image) + np.float32(0.4 * a) * vectors for a in (-1, 0.5)]))
    assert shows(work[0], "manipulate.png", models.displayed(moved, 5))


@pytest.mark.slow
def test_a_combination_is_the_sum_of_its_moves(all_work):
    codec, vectors = Codec(models.flow()), Directions.load(all_work[0] / "directions.npz").vectors
    # By default as far as in the official demo.
    z = codec.encode(models.images(40)[36:38]) + np.float32(1.6) * (np.float32(0.5) * vectors[0] - vectors[1])
    assert shows(all_work[0], "set.png", models.displayed(codec.decode(z), 5))


@pytest.mark.slow
def test_the_judgement_is_a_table(all_work):
    lines = (all_work[0] / "check.md").read_text().splitlines()
    assert len(lines) == 2 + 2 and lines[2].startswith("| 0 |")
    assert all_work[1]["check"][1].startswith(lines[0])


def test_data_sorted_by_class_is_judged_as_a_whole(work):
    _, *rows = (line.strip("| ").split(" | ") for line in (work[0] / "sorted.md").read_text().splitlines()[1:])
    assert [row[0] for row in rows] == ["0", "1", "2"]
    # The first and the last held-out image are of the first and the last class.
    assert "-" not in rows[0] + rows[2]
    assert [i for i, cell in enumerate(rows[1]) if cell == "-"] == [1, 3, 5]


def test_the_judgement_is_that_of_a_classifier_of_training_images(work):
    directory, _ = work
    source = load_source("arrays", data_dir=str(directory / "sorted.npz"))
    (train,), (test,) = (
        attributed_batches(source, split, 64, load_attributes(source, split), count, spaced=True)
        for split, count in (("train", 9), ("test", 2))
    )
    judge = AttributeClassifier((8, 8, 3), 3, seed=1)
    judge.fit(models.displayed(train["images"], 5), train["attributes"], epochs=1)
    directions = Directions.load(directory / "directions.npz")
    found = agreement(Codec(models.flow()), judge, directions, test["images"], test["attributes"], scale=0.4)
    rows = [line.strip("| ").split(" | ") for line in (directory / "sorted.md").read_text().splitlines()[2:]]
    for name, *cells in rows:
        values = [np.nan if cell == "-" else float(cell.rstrip("%")) for cell in cells]
        expected = np.array(dataclasses.astuple(found[name])) * ([100] * 4 + [1] * 2)
        np.testing.assert_allclose(values, expected, atol=0.51, err_msg=name)


@pytest.mark.parametrize(
    ("name", "model", "dimensions", "count"), [("probe", "plain", 192, 36), slow(("probe, grey", "grey", 64, 20))]
)
def test_a_probe_compares_all_levels_with_pixels(request, name, model, dimensions, count):
    directory, results = request.getfixturevalue("work" if name in QUICK else "all_work")
    rows = re.findall(r"^\| (.+) \| ([\d,]+) \| ([\d.]+)% \|$", results[name][1], re.MULTILINE)
    assert [row[0] for row in rows] == ["pixels", "level 1", "level 2", "latents"]
    assert [int(row[1]) for row in rows] == [dimensions, dimensions, dimensions // 2, dimensions]
    flow = models.flow(model)
    source = load_source("arrays", data_dir=str(directory / "images.npz"), channels=flow.config.image_shape[-1])
    train, test = (next(split_batches(source, split, count).as_numpy_iterator()) for split in ("train", "test"))
    for i, row in enumerate(rows):
        values = [[x, *flow.features(x), flow.encode(x)][i] for x in (train["images"], test["images"])]
        accuracy = linear_probe(values[0], train["labels"], values[1], test["labels"])
        assert float(row[2]) == pytest.approx(100 * accuracy, abs=0.06), row


@pytest.mark.slow
def test_an_export_without_gradients_is_smaller(all_work):
    directory, _ = all_work
    small, whole = (directory / "served" / name / "saved_model.pb" for name in ("small", "flat"))
    assert small.stat().st_size < 0.8 * whole.stat().st_size


@pytest.mark.slow
def test_an_exported_model_is_a_model_like_any_other(all_work):
    directory, results = all_work
    assert (directory / "served.png").read_bytes() == (directory / "not_served.png").read_bytes()
    for name in ("export", "export over it", "export, labels"):
        signatures, size, where = results[name][1].splitlines()
        assert "log_prob" in signatures and re.fullmatch(r"size: [\d.]+ MB", size)
        assert (directory / where / "saved_model.pb").is_file()
    assert "attributes" in results["export"][1] and "attributes" not in results["export over it"][1]
