"""The command line that trains a flow on sound."""

import wave

import numpy as np
import pytest
from PIL import Image

import glow_tf
from tests.commands.driver import run_commands

pytestmark = pytest.mark.slow

SMALL = ["--rate=1000", "--seconds=0.128", "--K=1", "--L=1", "--width=4", "--batch_size=2", "--count=2"]
COMMANDS = {
    "short": ["--out_dir=new/short", "--steps=3", "--eval_every=2"],
}
ERRORS = {
    "not empty": (["--out_dir=used"], "--out_dir=used holds a model already"),
    "a bundled model": (["--out_dir=pretrained"], "--out_dir=pretrained is the name of a model that ships"),
    "length": (["--out_dir=none", "--seconds=0.1"], "length 100 cannot be squeezed 1 times by 8"),
    "a rate that diverges": (["--out_dir=none", "--steps=9", "--learning_rate=1e30"], "lower --learning_rate"),
    "no folder": (["--out_dir=used/config.json/a"], "used/config.json is not a folder"),
}
OUT_OF_RANGE = ["--rate=999", "--seconds=0", "--count=1", "--steps=0", "--temperature=-1", "--squeeze=1", "--seed=-1"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The directory the commands ran in, and for each of them its exit code, stdout and stderr."""
    directory = tmp_path_factory.mktemp("work")
    (directory / "used").mkdir()
    (directory / "used" / "config.json").write_text("{}")
    commands = COMMANDS | {name: arguments for name, (arguments, _) in ERRORS.items()}
    commands = {name: [*SMALL, *arguments] for name, arguments in commands.items()}
    commands |= {argument: [argument] for argument in OUT_OF_RANGE}
    return directory, run_commands(directory, {name: ["audio", *arguments] for name, arguments in commands.items()})


def samples(path):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 1000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def test_it_says_how_the_flow_compares(work):
    code, out, _ = work[1]["short"]
    assert code == 0
    figures = dict(line.split(": ") for line in out.splitlines() if ": " in line and "update 2" not in line)
    flow = float(figures["flow"].partition(",")[0])
    for name in ("Gaussian of the same variance", "linear prediction of order 16"):
        baseline = float(figures[name])
        verdict = "better" if flow < baseline else "worse"
        (line,) = [line for line in out.splitlines() if line.endswith(f"nats per sample {verdict} than the {name}")]
        assert float(line.split()[0]) == pytest.approx(abs(baseline - flow), abs=0.002)
    assert out.endswith("new/short\n")


def test_the_model_is_the_one_that_was_scored(work):
    directory, results = work
    flow = glow_tf.load(directory / "new" / "short")
    assert flow.config.image_shape == (128, 1) and flow.initialized.numpy()
    sounds = np.stack([samples(directory / "new" / "short" / f"held_out_{i}.wav") for i in range(2)])[..., np.newaxis]
    back = flow.decode(flow.encode(sounds.astype(np.float32)))
    np.testing.assert_allclose(back, sounds, atol=1e-5)


def test_sounds_and_picture(work):
    folder = work[0] / "new" / "short"
    names = {path.stem for path in folder.glob("*.wav")}
    assert names == {*(f"{kind}_{i}" for kind in ("held_out", "sample") for i in range(2))} | {
        f"interpolation_{i}" for i in range(9)
    }
    assert all(samples(folder / f"{name}.wav").shape == (128,) for name in names)
    for end, number in ((0, 0), (1, 8)):
        np.testing.assert_allclose(
            samples(folder / f"interpolation_{number}.wav"), samples(folder / f"held_out_{end}.wav"), atol=2 / 32767
        )
    with Image.open(folder / "sounds.png") as file:
        assert file.format == "PNG" and np.asarray(file.convert("L")).std() > 5


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_line(work, name):
    directory, results = work
    code, _, err = results[name]
    assert code == 1
    assert err.startswith("error: ") and ERRORS[name][1] in err and err.count("\n") == 1
    assert not (directory / "none" / "config.json").exists()


@pytest.mark.parametrize("argument", OUT_OF_RANGE)
def test_values_out_of_range(work, argument):
    assert work[1][argument][0] == "IllegalFlagValueError"
