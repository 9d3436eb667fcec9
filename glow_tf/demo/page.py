"""Layout of the page."""

from collections.abc import Sequence

import gradio as gr

from glow_tf.demo import tabs
from glow_tf.demo.examples import Example
from glow_tf.demo.look import banner
from glow_tf.demo.model import DemoModel


def build(model: DemoModel, examples: Sequence[Example]) -> gr.Blocks:
    """Builds the page of a model, with its first pictures already drawn.

    Args:
      model: the model.
      examples: at least two pictures to choose from.
    """
    with gr.Blocks(title="Glow", analytics_enabled=False) as page:
        gr.HTML(banner(model))
        # Phones are too narrow for all tabs in a row, and a menu would hide them.
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("Sample"):
                tabs.sample_tab(model)
            with gr.Tab("Reconstruct"):
                tabs.reconstruct_tab(model, examples)
            with gr.Tab("Interpolate"):
                tabs.interpolate_tab(model, examples)
            with gr.Tab("Attributes"):
                tabs.attributes_tab(model, examples)
    return page
