"""The command line that compares models after equal training times."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from glow_tf.models import presets
from glow_tf.networks import Cnn
from tests.commands.driver import run_commands

pytestmark = pytest.mark.slow

DENSITY = [
    *("density", "--image_size=8", "--n_bits=5", "--K=1", "--L=2", "--width=4", "--train_batch_size=8"),
    *("--warmup_steps=2", "--minutes=0.02", "--evaluations=2", "--seeds=2", "--output=density"),
    *("--models=glow", "--models=glow, mixture", "--flip", "--shift=1"),
]
ONE = [*DENSITY[:10], "--models=glow", "--seeds=1"]
COMMANDS = {
    "first": DENSITY,
    "again": DENSITY,
    "other minutes": [*DENSITY, "--minutes=0.03"],
    "another size, and one model more": [*DENSITY, "--K=2", "--models=glow, both"],
    "published sizes": [*DENSITY, "--size=published"],
    # Interrupted before the first run, beside a run of another kind.
    "timed": [*ONE, "--output=timed"],
    "timed, of another size": [*ONE, "--K=2", "--output=resized"],
    "damaged": [*ONE, "--output=damaged"],
    "a size of Glow without Glow": [*ONE[:-2], "--models=jet", "--output=new"],
    "no number of minutes": [*ONE, "--minutes=nan", "--output=new"],
    "for ever": [*ONE, "--minutes=inf", "--output=new"],
    "a longer warm-up": [*ONE, "--warmup_steps=100000", "--output=new"],
    "a size that Flow++ does not take": [
        *("density", "--image_size=10", "--L=1", "--models=glow", "--models=flow_plus_plus", "--output=new")
    ],
}
# The model of ONE.
TIMED = presets.glow((8, 8, 3), K=1, L=2, network=Cnn(width=4), n_bits=5, gradient="stored")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The directory the commands ran in, and for each of them its exit code, stdout and stderr."""
    directory = tmp_path_factory.mktemp("work")
    for name in ("timed", "resized", "damaged"):
        (directory / name / "people_glow").mkdir(parents=True)
        (directory / name / "people_glow" / "training.json").write_text("{}")
        timed = {"updates": 6, "batch_size": 8, "config": json.loads(TIMED.to_json())}
        record = {"minutes": 0.02, "models": {"glow": timed}}
        (directory / name / "density.json").write_text(json.dumps(record) if name != "damaged" else '{"models": []}')
    return directory, run_commands(directory, COMMANDS)


def last_test(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "test"][-1]


def test_the_table_has_the_means_and_what_they_are_below_the_first(work):
    directory, results = work
    code, out, err = results["first"]
    assert code == 0, err
    rows = re.findall(
        r"^\| (glow.*?) \| [\d,]+ \| ([\d,]+) \| [\d,]+ \| ([\d.]+) \+- ([\d.]+) \| (-?[\d.]+) \|$", out, re.M
    )
    assert [row[0] for row in rows] == ["glow", "glow, mixture"]
    steps = sorted((row[1] for row in rows), key=lambda text: int(text.replace(",", "")))
    assert f"4 runs of {' to '.join(dict.fromkeys(steps))} steps, 0 of them finished." in out
    means = []
    for name, steps, mean, error, below in rows:
        lasts = [last_test(directory / "density" / f"{name.replace(', ', '_')}_seed{seed}") for seed in (0, 1)]
        assert {last["step"] for last in lasts} == {int(steps.replace(",", ""))}
        values = np.array([last["bits_per_dim"] for last in lasts])
        means.append(values.mean())
        assert float(mean) == pytest.approx(means[-1], abs=6e-4)
        assert float(error) == pytest.approx(values.std(ddof=1) / np.sqrt(2), abs=6e-4)
        assert float(below) == pytest.approx(means[0] - means[-1], abs=6e-4)
    with Image.open(directory / "density" / "density.png") as file:
        assert np.asarray(file.convert("L")).std() > 5


def test_images_are_mirrored_and_shifted_if_asked(work):
    file = work[0] / "density" / "glow_mixture_seed1" / "training.json"
    assert json.loads(file.read_text()).items() >= {"flip": True, "shift": 1}.items()


def test_the_same_command_trains_nothing_again(work):
    _, out, _ = work[1]["again"]
    assert "4 runs" in out and "4 of them finished" in out
    assert not re.search(r"^(Run \d|Timing)", out, re.M)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other minutes", "--minutes=0.03: the runs in density are of 0.02 minutes. Set another --output"),
        ("another size, and one model more", "glow_seed0 holds another run. Recorded vs. requested: "),
        ("published sizes", "coupling.components: 4 vs. 32"),
    ],
)
def test_runs_are_not_reported_under_other_flags(work, name, message):
    code, out, err = work[1][name]
    assert (code, out, err.count("\n")) == (1, "", 1) and message in err
    assert json.loads((work[0] / "density" / "density.json").read_text())["minutes"] == 0.02


def test_a_model_is_timed_once_and_again_only_at_another_size(work):
    directory, results = work
    code, out, err = results["timed"]
    assert code == 0, err
    assert "Timing" not in out and "1 run of 6 steps, 0 of them finished." in out
    assert last_test(directory / "timed" / "glow_seed0")["step"] == 6
    code, out, err = results["timed, of another size"]
    assert code == 0, err
    assert out.startswith("Timing glow ...") and out.count("Timing") == 1
    recorded = json.loads((directory / "resized" / "density.json").read_text())["models"]["glow"]
    assert recorded["config"] != json.loads(TIMED.to_json())
    assert last_test(directory / "resized" / "glow_seed0")["step"] == recorded["updates"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("damaged", "damaged/density.json is damaged. Set another --output."),
        ("a size of Glow without Glow", "--K is the size of Glow, which --models leaves out."),
        ("no number of minutes", "--minutes=nan must be a number of minutes."),
        ("for ever", "--minutes=inf must be a number of minutes."),
        ("a longer warm-up", "and the learning rate rises for --warmup_steps=100000."),
        ("a size that Flow++ does not take", "error: flow_plus_plus: "),
    ],
)
def test_what_is_refused(work, name, message):
    code, _, err = work[1][name]
    assert (code, err.count("\n")) == (1, 1) and message in err
