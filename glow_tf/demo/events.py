"""Event handling of the page: events are answered immediately, and the newest one last."""

import json
from collections.abc import Sequence

import gradio as gr

# While an event is handled, only the newest later one waits; no queue, and no progress overlay on the picture.
LIVE = {"trigger_mode": "always_last", "show_progress": "hidden", "queue": False, "api_visibility": "private"}


def clip_sliders(inputs: Sequence[gr.components.Component]) -> str:
    """Returns JavaScript that clips the slider values of an event to their ranges.

    Gradio accepts any number in the text field of a slider, and then reports an error.

    Args:
      inputs: all inputs of the event.
    """
    ranges = [[part.minimum, part.maximum] if isinstance(part, gr.Slider) else None for part in inputs]
    # Called with the values of the inputs, followed by those of the outputs.
    return f"""(...values) => {json.dumps(ranges)}.map((range, i) =>
      range ? Math.min(Math.max(Number(values[i]), range[0]), range[1]) : values[i])"""
