"""The part of the page where a picture is chosen: examples to click, and a place for one's own."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np

from glow_tf.data import DataError, images
from glow_tf.demo import html
from glow_tf.demo.events import LIVE, within
from glow_tf.demo.examples import Example, read_picture
from glow_tf.demo.model import DemoModel

# One listener for all buttons, also for those of a later value.
_TELL_WHICH = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('select', {index: Number(button.dataset.index)});
});
"""
_THUMBNAIL = 48


class Picker:
    """Examples, a place to drop a file, and for a conditional model its class.

    Attributes:
      chosen: `gr.State` of the `Example` that is chosen.
      first: the `Example` chosen at the beginning.

    Args:
      model: whose size pictures are brought to.
      examples: to choose from.
      first: number of the one that is chosen at the beginning.
      title: what the picture is for.
      name: of this picker, unique in the page: the beginning of the ids of its parts.
    """

    def __init__(self, model: DemoModel, examples: Sequence[Example], first: int, title: str, name: str):
        self._model, self._examples = model, examples
        self._images = [_thumbnail(example.image) for example in examples]
        self.first = examples[first]
        gr.HTML(f"<h3>{title}</h3>")
        self._choices = gr.HTML(self._buttons(first), js_on_load=_TELL_WHICH, elem_id=f"{name}-examples")
        self._file = gr.File(
            label="Your own picture", show_label=False, height=56, elem_id=f"{name}-file", elem_classes="drop"
        )
        self._note = gr.HTML(html.note(""), elem_id=f"{name}-note")
        self._label = gr.Dropdown(
            [(f"Class {label}", label) for label in range(model.num_classes)],
            value=self.first.label,
            label="Its class",
            visible=bool(model.num_classes),
            elem_id=f"{name}-label",
        )
        self.chosen = gr.State(self.first)

    def when_chosen(self, function: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Calls `function` on the values of `inputs` whenever another picture, or class, is chosen."""
        parts = [self._choices, self._note, self._label, self.chosen]
        for event in (
            self._choices.select(self._pick, None, parts, **LIVE),
            self._file.upload(self._read, [self._file, self._label], [*parts, self._file], **LIVE),
            self._label.input(self._relabel, [self._label, self.chosen], self.chosen, **LIVE),
        ):
            event.then(function, inputs, outputs, js=within(inputs), **LIVE)

    def _buttons(self, chosen):
        return html.choices(self._images, chosen, _THUMBNAIL)

    def _pick(self, event: gr.EventData):
        index = min(max(int(event.index), 0), len(self._examples) - 1)
        example = self._examples[index]
        return self._buttons(index), html.note(""), example.label, example

    def _read(self, path, label):
        # The file makes room for the next one.
        try:
            image = read_picture(path, self._model.image_shape)
        except DataError as error:
            # Its message has the name of the file, and no other part of its path.
            text = f"Sorry, {error} PNG, JPEG, GIF and WebP files of usual size can be read."
            return gr.skip(), html.note(text), gr.skip(), gr.skip(), None
        return self._buttons(None), html.note(""), label, Example(image, label), None

    def _relabel(self, label, chosen):
        return Example(chosen.image, label)


def _thumbnail(image):
    """A large picture at twice the size of the buttons, for finely resolved screens; others as they are."""
    height, width, channels = image.shape
    factor = min(1, 2 * _THUMBNAIL / width)
    return images.fit_pixels(np.asarray(image), (max(1, round(factor * height)), round(factor * width), channels))
