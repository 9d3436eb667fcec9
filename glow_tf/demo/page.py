"""The page as a whole."""

from collections.abc import Sequence

import gradio as gr

from glow_tf.demo import tabs
from glow_tf.demo.examples import Example
from glow_tf.demo.look import banner
from glow_tf.demo.model import DemoModel


def build(model: DemoModel, examples: Sequence[Example]) -> gr.Blocks:
    """The page of a model, with what it shows first already drawn.

    Args:
      model: what draws, encodes and decodes.
      examples: at least two pictures to choose from.
    """
    # Uploads are forgotten after an hour.
    with gr.Blocks(title="Glow", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML(banner(model))
        with gr.Tab("Sample"):
            tabs.sample_tab(model)
        with gr.Tab("Reconstruct"):
            tabs.reconstruct_tab(model, examples)
        with gr.Tab("Interpolate"):
            tabs.interpolate_tab(model, examples)
        with gr.Tab("Attributes"):
            tabs.attributes_tab(model, examples)
    return page
