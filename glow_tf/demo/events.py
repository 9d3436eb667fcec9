"""Event handling of the page: answers at once, and with the newest picture last."""

import json
from collections.abc import Sequence

import gradio as gr

# While an event is answered, only the newest of the others waits; no queue, and no veil on the picture.
LIVE = {"trigger_mode": "always_last", "show_progress": "hidden", "queue": False, "api_visibility": "private"}


def within(inputs: Sequence[gr.components.Component]) -> str:
    """JavaScript for an event that brings the values of sliders into their ranges.

    Gradio lets people type any number into the field of a slider, and then answers with an error.

    Args:
      inputs: all inputs of the event.
    """
    ranges = [[part.minimum, part.maximum] if isinstance(part, gr.Slider) else None for part in inputs]
    # It is called with the values of the inputs, then with those of the outputs.
    return f"""(...values) => {json.dumps(ranges)}.map((range, i) =>
      range ? Math.min(Math.max(Number(values[i]), range[0]), range[1]) : values[i])"""
