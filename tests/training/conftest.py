"""Images and a run that several tests share."""

import pytest

from glow_tf.training import loop
from tests.training import helpers
from tests.training.runs import LONG, make_source, train


@pytest.fixture(scope="module")
def short_timing():
    """Shortens the timing of the input pipeline, which takes a second of every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_SECONDS_TO_TIME_THE_PIPELINE", 0.01)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("data"), helpers.CONFIG)


@pytest.fixture(scope="module")
def tiny_source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("data"), helpers.TINY)


@pytest.fixture(scope="module")
def through(tmp_path_factory, tiny_source):
    """An uninterrupted run of eight steps."""
    directory = tmp_path_factory.mktemp("through")
    return directory, *train(directory, tiny_source, steps_per_call=5, **LONG)
