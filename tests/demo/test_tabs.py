"""Tabs of the page for a model that has no picture to show."""

import copy

import gradio as gr
import numpy as np
import pytest

from glow_tf.demo import examples
from glow_tf.demo.look import banner
from glow_tf.demo.model import UndrawableError
from glow_tf.demo.tabs import sample_tab
from tests.demo.models import loaded


def test_latents_far_out_have_no_picture():
    model = loaded("glow")
    with pytest.raises(UndrawableError):
        model.decode(np.full([1, model.dimensions], np.nan))
    with pytest.raises(UndrawableError):
        model.sample(2, 1e30, 0)


def test_a_model_whose_pictures_are_no_numbers_is_one_line():
    model = copy.copy(loaded("glow"))
    draw = model.sample
    model.sample = lambda count, temperature, seed: draw(count, 1e30, seed)
    for start in (banner, examples.default_examples):
        model.names = ()
        # A tool prints a ValueError on one line.
        with pytest.raises(ValueError, match="pictures are not finite numbers: its training has diverged") as error:
            start(model)
        assert "\n" not in str(error.value)


def test_a_model_that_gives_no_numbers_still_has_a_page():
    model = copy.copy(loaded("glow"))
    draw = model.sample
    model.sample = lambda count, temperature, seed, label: draw(count, 1e30, seed, label)
    with gr.Blocks() as page:
        sample_tab(model)
    (shown,) = (block for block in page.blocks.values() if block.elem_id == "samples")
    assert "Too wild for this model" in shown.value
