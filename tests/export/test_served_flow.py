"""The functions of a loaded SavedModel: files, defaults, attributes, and invalid inputs."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

import glow_tf
from glow_tf.analysis.attributes import Directions
from glow_tf.data.images import decode_file
from glow_tf.export.served_flow import ServedFlow
from tests.marks import slow
from tests.saved_models import ATTRIBUTES, CONFIGS, directions, examples, flow, saved

MODELS = ("glow", "grey", "conditional", "flat", "sound", "real")


@pytest.fixture(scope="module")
def flows():
    return {name: flow(name) for name in MODELS}


class Loaded(dict):
    """SavedModels keyed by name, each loaded on first access."""

    def __missing__(self, name):
        return self.setdefault(name, tf.saved_model.load(str(saved(name))))


@pytest.fixture(scope="module")
def loaded():
    return Loaded()


def test_directions_of_another_model_are_refused(flows):
    ones = Directions(("a", "b"), np.ones([2, 7], np.float32), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="another model: its directions have 7 dimensions"):
        ServedFlow(flows["glow"], ones)


@pytest.fixture(scope="module")
def images():
    return {name: examples(CONFIGS[name], 3) for name in MODELS}


def files(images, kind="PNG"):
    """Encodes images as files, and returns the bytes of each."""
    written = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, kind)
        written.append(file.getvalue())
    return written


def before_header(png, kind, content):
    """A PNG file with an extra chunk before all others."""
    chunk = len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
    return png[:8] + chunk + png[8:]


def of_size(png, height, width):
    """A PNG file whose header states another size."""
    return png[:16] + struct.pack(">II", width, height) + png[24:]


def pixels(written):
    """The images in files, as Pillow reads them."""
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in np.ravel(written)])


def shown(images, name):
    """The pixels that Pillow reads from files of `images`: the levels of the model, spread over 0 to 255."""
    n_bits = CONFIGS[name].n_bits
    values = np.round(images.numpy() // 2 ** (8 - n_bits) * (255 / (2**n_bits - 1))).astype(np.uint8)
    return values[..., 0] if values.shape[-1] == 1 else values


@pytest.mark.parametrize("name", ["glow", slow("grey")])
def test_files_in_place_of_pixels(loaded, images, name):
    model, batch, written = loaded[name], images[name], files(images[name])
    for function, twin in [
        ("encode", "encode_bytes"),
        ("encode", "encode_bytes_exact"),
        ("log_prob", "log_prob_bytes"),
        ("features", "features_bytes"),
    ]:
        from_files, from_pixels = getattr(model, twin)(written), getattr(model, function)(batch)
        assert from_files.keys() == from_pixels.keys()
        for key, value in from_pixels.items():
            np.testing.assert_array_equal(from_files[key], value)
    back = model.reconstruct_bytes(written)["image_bytes"].numpy()
    np.testing.assert_array_equal(pixels(back), shown(model.reconstruct(batch)["images"], name))
    # Files that the model has written have the same latents as the images that they were made from.
    np.testing.assert_array_equal(model.encode_bytes(back)["latents"], model.encode(batch)["latents"])
    drawn = pixels(model.sample_bytes(2, seed=3)["image_bytes"].numpy())
    np.testing.assert_array_equal(drawn, shown(model.sample(2, seed=3)["images"], name))
    path = model.interpolate_bytes(written[:1], written[1:2], steps=3)["image_bytes"]
    assert path.shape == [1, 4]
    between = model.interpolate(batch[:1], batch[1:2], steps=3)["images"]
    np.testing.assert_array_equal(pixels(path.numpy()), shown(between[0], name))


def test_jpeg_files_and_grey_ones_for_a_model_of_colours(loaded):
    model = loaded["glow"]
    smooth = np.broadcast_to(np.linspace(20, 230, 8).astype(np.uint8)[:, None, None], [8, 8, 3])
    jpeg = files([smooth], "JPEG")
    np.testing.assert_array_equal(model.encode_bytes(jpeg)["latents"], model.encode(pixels(jpeg))["latents"])
    grey = files([smooth[..., :1]])
    np.testing.assert_array_equal(model.encode_bytes(grey)["latents"], model.encode(smooth[np.newaxis])["latents"])


def test_photographs_of_any_size_are_fitted_as_for_training(loaded):
    model, rng = loaded["glow"], np.random.default_rng(1)
    large = rng.integers(0, 256, [50, 70, 3], np.uint8)
    upright, turned = io.BytesIO(), Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.fromarray(large).save(upright, "PNG", exif=turned)
    written = [upright.getvalue(), *files([rng.integers(0, 256, [3, 9, 4], np.uint8)]), *files([large], "JPEG")]
    fitted = np.stack([decode_file(io.BytesIO(file), (8, 8, 3), enlarge=True) for file in written])
    np.testing.assert_array_equal(model.encode_bytes(written)["latents"], model.encode(fitted)["latents"])
    np.testing.assert_array_equal(
        model.interpolate_bytes(written, written[::-1], 2)["image_bytes"],
        model.interpolate_bytes_exact(files(fitted), files(fitted[::-1]), 2)["image_bytes"],
    )


def test_photographs_are_cropped_at_the_centre_if_training_took_random_crops():
    photograph = examples(CONFIGS["nice"], 1)[0].repeat(4, axis=0).repeat(4, axis=1)[:24, 2:30]
    # The central 24x24, halved to 12x12, of which the central 8x8.
    halved = photograph[:, 2:26].reshape(12, 2, 12, 2).mean(axis=(1, 3)).astype(np.uint8)
    served = ServedFlow(flow("nice"), crop_from=12)
    expected = served.encode(halved[np.newaxis, 2:10, 2:10, np.newaxis])["latents"]
    np.testing.assert_array_equal(served.encode_bytes(files([photograph]))["latents"], expected)
    with pytest.raises(ValueError, match="crop_from=7 must be a number of pixels of at least the image size"):
        ServedFlow(flow("nice"), crop_from=7)


def test_the_likelihood_does_not_depend_on_the_batch(loaded, images):
    whole = loaded["glow"].log_prob(images["glow"], seed=3)["log_prob"]
    for i in range(3):
        alone = loaded["glow"].log_prob(images["glow"][i : i + 1], seed=3)["log_prob"]
        np.testing.assert_allclose(alone, whole[i : i + 1], rtol=1e-6)
    other = loaded["glow"].log_prob(images["glow"], seed=4)["log_prob"]
    assert np.abs(other - whole).min() > 1e-3


def test_defaults(loaded, flows, images):
    model, batch = loaded["glow"], images["glow"]
    default, stated = model.log_prob(batch)["log_prob"], model.log_prob(batch, seed=0)["log_prob"]
    np.testing.assert_array_equal(default, stated)
    np.testing.assert_array_equal(model.signatures["serving_default"](images=tf.constant(batch))["log_prob"], stated)
    np.testing.assert_array_equal(model.sample(2)["images"], model.sample(2, 1.0, 0)["images"])
    assert model.interpolate(batch[:1], batch[1:2])["images"].shape == [1, 9, 8, 8, 3]
    direction = directions("glow").vectors[:1]
    np.testing.assert_array_equal(
        model.manipulate(batch, direction)["images"],
        model.manipulate(batch, direction, np.ones(3, np.float32))["images"],
    )
    # By default, a conditional model cycles through its classes.
    conditional = loaded["conditional"]
    drawn = conditional.sample(4, seed=1)["images"]
    np.testing.assert_array_equal(drawn, conditional.sample(4, seed=1, labels=[0, 1, 2, 0])["images"])
    assert np.abs(drawn.numpy().astype(int) - conditional.sample(4, seed=1, labels=[2, 2, 2, 2])["images"]).max() > 0


@pytest.mark.parametrize("name", ["glow", slow("grey"), "conditional", "flat", slow("sound")])
def test_no_images(loaded, images, name):
    model, config = loaded[name], CONFIGS[name]
    empty = images[name][:0]
    labels = [np.zeros([0], np.int32)] if config.conditional else []
    image, dimensions = config.image_shape, config.dimensions
    assert model.encode(empty, *labels)["latents"].shape == [0, dimensions]
    assert model.log_prob(empty, *labels)["bits_per_dim"].shape == [0]
    assert all(level.shape[0] == 0 for level in model.features(empty, *labels).values())
    assert model.reconstruct(empty, *labels)["images"].shape == [0, *image]
    assert model.decode(np.zeros([0, dimensions], np.float32), *labels)["images"].shape == [0, *image]
    assert model.sample(0)["images"].shape == [0, *image]
    assert model.interpolate(empty, empty, *labels, *labels, steps=2)["images"].shape == [0, 3, *image]
    assert model.manipulate(empty, *labels, np.zeros([1, dimensions], np.float32))["images"].shape == [0, *image]
    if len(image) == 3:
        assert model.encode_bytes(tf.constant([], tf.string), *labels)["latents"].shape == [0, dimensions]
        assert model.sample_bytes(0)["image_bytes"].shape == [0]


def test_temperature_0_is_the_mode(loaded, flows):
    drawn = loaded["glow"].sample(3, temperature=0.0, seed=5)["images"].numpy()
    mode = flows["glow"].decode(np.zeros([1, 192], np.float32)).numpy()
    np.testing.assert_array_equal(drawn, np.repeat(mode, 3, axis=0))


def test_attributes_are_kept(loaded):
    found = loaded["glow"].signatures["attributes"]()
    assert found["names"].numpy().tolist() == [name.encode() for name in ATTRIBUTES["glow"]]
    np.testing.assert_array_equal(found["directions"], directions("glow").vectors)
    assert "attributes" not in loaded["flat"].signatures


@pytest.mark.parametrize("name", ["flat", slow("sound"), "real"])
def test_models_without_pictures_have_no_files(loaded, images, name):
    assert not [function for function in loaded[name].signatures if function.endswith("_bytes")]
    assert loaded[name].encode(images[name])["latents"].shape == [3, CONFIGS[name].dimensions]


@pytest.mark.slow
def test_what_the_model_cannot_have_made_has_no_likelihood():
    config = glow_tf.real_nvp((4, 4, 1), L=1, width=4, blocks=1, dequantizer=glow_tf.dequantization.Continuous())
    model = ServedFlow(glow_tf.Flow(config))
    x = np.zeros([2, 4, 4, 1], np.float32)
    x[1, 2, 2] = 0.6
    with tf.GradientTape() as tape:
        log_prob = model.log_prob(x)["log_prob"]
        loss = log_prob[0]
    np.testing.assert_allclose(log_prob[0], model.log_prob(x[:1])["log_prob"][0], rtol=1e-6)
    assert np.isfinite(log_prob[0]) and log_prob[1] == -np.inf
    found = tape.gradient(loss, model.trainable_variables, unconnected_gradients="zero")
    assert all(np.isfinite(gradient).all() for gradient in found)


@pytest.mark.slow
def test_sound_is_scored_and_comes_back_as_by_the_flow(loaded, flows, images):
    model, flow, sounds = loaded["sound"], flows["sound"], images["sound"]
    scores = model.log_prob(sounds)
    np.testing.assert_allclose(scores["log_prob"], flow.distribution().log_prob(sounds), rtol=1e-5)
    np.testing.assert_allclose(scores["bits_per_dim"], scores["log_prob"] / (-16 * np.log(2)), rtol=1e-5)
    back = model.decode(model.encode(sounds)["latents"])["images"]
    assert back.dtype == tf.float32
    np.testing.assert_allclose(back, sounds, atol=1e-5)
    np.testing.assert_allclose(model.sample(2, 0.5, 3)["images"], flow.sample(2, 0.5, seed=3), atol=1e-5)
    path = model.interpolate(sounds[:1], sounds[1:2], steps=2)["images"]
    np.testing.assert_allclose(path[0, ::2], sounds[:2], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [tf.float16, tf.float64])
def test_floats_of_another_precision_are_the_same_sound(loaded, flows, images, dtype):
    sounds = tf.cast(images["sound"], dtype)
    expected = flows["sound"].bits_per_dim(tf.cast(sounds, tf.float32))
    np.testing.assert_allclose(flows["sound"].bits_per_dim(sounds), expected, rtol=1e-6)
    np.testing.assert_allclose(loaded["sound"].log_prob(sounds)["bits_per_dim"], expected, rtol=1e-5)
    assert loaded["sound"](sounds).dtype == tf.float32


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int64])
def test_whole_numbers_are_no_sound(loaded, images, dtype):
    whole = np.abs(images["sound"] * 100).astype(dtype)
    message = rf"images must have shape \[B, 16, 1\] and dtype float32; the dtype found is {np.dtype(dtype).name}"
    for function in (loaded["sound"], loaded["sound"].log_prob, loaded["sound"].reconstruct):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            function(whole)


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("glow", [None, 8, 8, 3], tf.uint8),
        slow(("grey", [None, 8, 4, 1], tf.uint8)),
        ("flat", [None, 12], tf.uint8),
        slow(("sound", [None, 16, 1], tf.float32)),
    ],
)
def test_signatures_state_their_shapes(loaded, name, shape, dtype):
    signature = loaded[name].signatures["encode"]
    assert signature.structured_input_signature[1]["images"] == tf.TensorSpec(shape, dtype, "images")
    assert signature.structured_outputs["latents"].shape == [None, CONFIGS[name].dimensions]


Z = np.zeros([3, 192], np.float32)
SHAPE = r"images must have shape \[B, 8, 8, 3\] and dtype uint8"
REFUSED = {
    "a smaller image": (lambda m, x: m.encode(x[:, :4]), f"{SHAPE}; the shape found is\\] \\[3 4 8 3\\]"),
    "no batch": (lambda m, x: m.encode(x[0]), SHAPE),
    "one channel": (lambda m, x: m.reconstruct(x[..., :1]), SHAPE),
    "floats": (lambda m, x: m.log_prob(x / np.float32(255)), f"{SHAPE}; the dtype found is float32"),
    "integers": (lambda m, x: m.features(x.astype(np.int64)), f"{SHAPE}; the dtype found is int64"),
    "floats, called": (lambda m, x: m(x.astype(np.float64)), f"{SHAPE}; the dtype found is float64"),
    "wrong size, called": (lambda m, x: m(x[:, 1:]), SHAPE),
    "a signature": (lambda m, x: m.signatures["encode"](images=tf.constant(x[:, :4])), SHAPE),
    "a signature, floats": (
        lambda m, x: m.signatures["encode"](images=tf.constant(x, tf.float32)),
        "expected to be a uint8 tensor but is a float tensor",
    ),
    "one of two": (lambda m, x: m.interpolate(x, x[:, :4]), r"end must have shape \[B, 8, 8, 3\]"),
    "not as many": (lambda m, x: m.interpolate(x, x[:1]), "start and end must be equally many"),
    "no steps": (lambda m, x: m.interpolate(x, x, steps=0), "steps must be at least 1"),
    "latents": (lambda m, x: m.decode(Z[:, 1:]), r"latents must have shape \[B, 192\]"),
    "fewer than no samples": (lambda m, x: m.sample(-1), "num must not be negative"),
    "temperature": (lambda m, x: m.sample(1, temperature=-0.1), "temperature must be finite and not negative"),
    "a temperature that is no number": (
        lambda m, x: m.sample(1, temperature=np.nan),
        "must be finite and not negative",
    ),
    "far too warm": (lambda m, x: m.sample(2, temperature=1e30), "lower the temperature .*not finite"),
    "latents that are no numbers": (lambda m, x: m.decode(Z + np.array([[0], [np.nan], [0]], "f")), r"\] \[3\] \[1\]"),
    "directions": (lambda m, x: m.manipulate(x, Z[:2]), "direction must have one row, or one for each image"),
    "scales": (lambda m, x: m.manipulate(x, Z, [1.0, 2.0]), "scale must have one row, or one for each image"),
    "direction": (lambda m, x: m.manipulate(x, Z[0]), r"direction must have shape \[B, 192\]"),
    "no image file": (lambda m, x: m.encode_bytes([*files(x[:2]), b"text"]), r"counted from 0, is not:\] \[2\]"),
    "an empty file": (lambda m, x: m.encode_bytes([b""]), "must be PNG or JPEG files"),
    "a file that claims to be huge": (
        lambda m, x: m.encode_bytes([of_size(files(x)[0], 2**30, 2**30)]),
        r"must have at most 64000000 pixels; .* \[0\] \[1073741824 1073741824\]",
    ),
    "a file that claims to be just too large": (
        lambda m, x: m.interpolate_bytes(files(x), [*files(x[:2]), of_size(files(x)[0], 64_000_001, 1)]),
        r"end_bytes must have at most 64000000 pixels; .* \[2\] \[64000001 1\]",
    ),
    "a file that claims to be less than nothing": (
        lambda m, x: m.encode_bytes([of_size(files(x)[0], 2**32 - 1, 2**32 - 1)]),
        r"must have at most 64000000 pixels; .* \[0\] \[-1 -1\]",
    ),
    "no pixels": (lambda m, x: m.encode_bytes([of_size(files(x)[0], 0, 8)]), r"\[0\] \[0 8\]"),
    "a JPEG of another size": (
        lambda m, x: m.encode_bytes_exact(files([np.zeros([8, 9, 3], np.uint8)], "JPEG")),
        r"must be 8 pixels high and 8 wide; .* \[0\] \[8 9\]",
    ),
    "a GIF": (lambda m, x: m.encode_bytes(files(x[:1], "GIF")), "must be PNG or JPEG files"),
    "a header alone": (lambda m, x: m.encode_bytes([files(x)[0][:17]]), "must have at most 64000000 pixels"),
    "half a size": (lambda m, x: m.encode_bytes_exact([files(x)[0][:17]]), "must be 8 pixels high and 8 wide"),
    "not even a header": (lambda m, x: m.encode_bytes([files(x)[0][:12]]), "must be PNG files that begin with IHDR"),
    "a chunk where the header should be": (
        lambda m, x: m.encode_bytes([before_header(files(x)[0], b"vpAg", bytes(8) + bytes([0, 0, 0, 8, 0, 0, 0, 8]))]),
        "must be PNG files that begin with IHDR",
    ),
    "a damaged file": (lambda m, x: m.encode_bytes([files(x)[0][:60]]), "(?i)png"),
    "a file of another size": (
        lambda m, x: m.encode_bytes_exact(files([x[0], x[1][:4]])),
        r"must be 8 pixels high and 8 wide; index \(from 0\) and size of the wrong one:\] \[1\] \[4 8\]",
    ),
    "one string": (lambda m, x: m.encode_bytes(files(x)[0]), r"image_bytes must have shape \[B\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(loaded, images, case):
    call, message = REFUSED[case]
    with pytest.raises(tf.errors.InvalidArgumentError) as refused:
        call(loaded["glow"], images["glow"])
    assert re.search(message, str(refused.value)), str(refused.value)


def test_labels_are_checked(loaded, images):
    model, batch = loaded["conditional"], images["conditional"]
    labels = np.array([0, 1, 2], np.int32)
    for call, message in [
        (lambda: model.encode(batch, labels[:2]), "labels needs one entry for each image"),
        (lambda: model.encode(batch, labels + 1), "Labels must lie in 0 .. 2"),
        (lambda: model.sample(2, labels=labels), "labels needs one entry for each image"),
        (lambda: model.interpolate(batch, batch, labels, labels - 1), "Labels must lie in 0 .. 2"),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call()
    sample = model.signatures["sample"]
    given = {"temperature": tf.constant(1.0), "seed": tf.constant(0)}
    with pytest.raises(tf.errors.InvalidArgumentError, match="one entry for each"):
        sample(num=tf.constant(3), labels=tf.constant([0, 1]), **given)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Labels must lie in"):
        sample(num=tf.constant(2), labels=tf.constant([0, 3]), **given)
