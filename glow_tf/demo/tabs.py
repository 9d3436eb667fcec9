"""Tabs of the page. Each is drawn when the page is built, and again whenever a control is moved."""

import functools
import math
import random
from collections.abc import Sequence

import gradio as gr
import numpy as np

from glow_tf.analysis.attributes import SCALE
from glow_tf.demo import html
from glow_tf.demo.events import LIVE, clip_sliders
from glow_tf.demo.examples import Example
from glow_tf.demo.model import DemoModel, UndrawableError
from glow_tf.demo.picker import Picker

MOST_ATTRIBUTES = 12
_STEPS = 8
_SEEDS = 2**31
_ALL_CLASSES = -1
# Names for the skin tones and kinds of the bundled portraits, in place of Unicode's; other names keep their words.
_DISPLAY_NAMES = {
    "yellow": "Smiley yellow",
    "light": "Light skin",
    "medium-light": "Medium-light skin",
    "medium": "Medium skin",
    "medium-dark": "Medium-dark skin",
    "dark": "Dark skin",
    "person": "Portrait",
    "person-role": "At work",
    "person-gesture": "Gesturing",
    "person-fantasy": "Fantasy",
    "person-activity": "Out and about",
    "person-sport": "Sporty",
}


def sample_tab(model: DemoModel) -> None:
    """Draws samples, with controls for temperature, number and seed, and for the class of a conditional model."""

    @_or_hint
    def draw(temperature, count, seed, label):
        wanted = None if label == _ALL_CLASSES or not model.num_classes else label
        images = model.sample(int(count), float(temperature), int(seed or 0) % _SEEDS, wanted)
        return html.grid(images, math.ceil(math.sqrt(len(images))), 576, "Sample")

    def surprise(*values):
        seed = random.SystemRandom().randrange(10_000)
        return seed, draw(*values[:2], seed, *values[3:])

    count = min(16, model.most_images)
    with gr.Row():
        with gr.Column(scale=4, min_width=340, elem_classes="card"):
            temperature = gr.Slider(
                0,
                1.2,
                0.7,
                step=0.01,
                label="Temperature",
                buttons=[],
                info="Low is calm, high is wild.",
                elem_id="temperature",
            )
            number = gr.Slider(1, model.most_images, count, step=1, label="How many", buttons=[], elem_id="count")
            classes = [("All in turn", _ALL_CLASSES), *((f"Class {i}", i) for i in range(model.num_classes))]
            label = gr.Dropdown(
                classes, value=_ALL_CLASSES, label="Class", visible=bool(model.num_classes), elem_id="class"
            )
            seed = gr.Number(0, label="Seed", info="The same seed draws the same pictures.", elem_id="seed")
            dice = gr.Button("Surprise me", variant="primary", elem_id="dice", elem_classes="dice")
        with gr.Column(scale=7, min_width=320, elem_classes="card stage above"):
            shown = gr.HTML(draw(0.7, count, 0, _ALL_CLASSES), elem_id="samples")
    controls = [temperature, number, seed, label]
    gr.on([control.input for control in controls], draw, controls, shown, js=clip_sliders(controls), **LIVE)
    dice.click(surprise, controls, [seed, shown], js=clip_sliders(controls), **LIVE)


def reconstruct_tab(model: DemoModel, examples: Sequence[Example]) -> None:
    """Encodes and decodes a picture, and shows its likelihood."""

    @_or_hint
    def show(chosen):
        image, labels = chosen.image[np.newaxis], _labels(chosen)
        original, reconstruction = model.displayed(image), model.reconstruct(image, labels)
        difference = int(np.abs(reconstruction.astype(int) - original).max())
        bits = float(model.bits_per_dim(image, labels)[0])
        figures = html.figures([original[0], reconstruction[0]], ["Original", "Reconstruction"], 288)
        values = [(f"{bits:.2f}", "bits per dimension"), (f"{difference} of 255", "largest pixel difference")]
        return figures + html.facts(values) + html.hint(_verdict(difference, model.n_bits))

    with gr.Row():
        with gr.Column(scale=4, min_width=340, elem_classes="card"):
            picker = Picker(model, examples, 0, "Choose a picture", "original")
        with gr.Column(scale=7, min_width=320, elem_classes="card stage above"):
            shown = gr.HTML(show(picker.first), elem_id="reconstruction")
    picker.when_chosen(show, [picker.chosen], [shown])


def interpolate_tab(model: DemoModel, examples: Sequence[Example]) -> None:
    """Interpolates linearly between the latents of two pictures."""

    def encode(start, end):
        latents = [model.encode(one.image[np.newaxis], _labels(one))[0] for one in (start, end)]
        return (*latents, (start.label, end.label))

    @_or_hint
    def move(ends, fraction):
        (image,) = model.blend(*ends[:2], np.array([float(fraction)]), ends[2])
        return html.figures([image], [f"{fraction:.0%} of the way"], 288)

    @_or_hint
    def walk(ends):
        way = model.blend(*ends[:2], np.arange(_STEPS + 1) / _STEPS, ends[2])
        return html.grid(way, _STEPS + 1, 600, "On the way", kind="strip")

    def show(start, end, fraction):
        ends = encode(start, end)
        return ends, move(ends, fraction), walk(ends)

    with gr.Row():
        with gr.Column(scale=4, min_width=340, elem_classes="card"):
            pickers = [
                Picker(model, examples, 0, "From A", "from"),
                Picker(model, examples, len(examples) // 2, "To B", "to"),
            ]
        ends, picture, way = show(*(picker.first for picker in pickers), 0.5)
        with gr.Column(scale=7, min_width=320, elem_classes="card stage above"):
            shown = gr.HTML(picture, elem_id="between")
            fraction = gr.Slider(0, 1, 0.5, step=0.01, label="From A to B", buttons=[], elem_id="fraction")
            strip = gr.HTML(way, elem_id="way")
        latents = gr.State(ends)
    for picker in pickers:
        picker.when_chosen(show, [*(one.chosen for one in pickers), fraction], [latents, shown, strip])
    fraction.input(move, [latents, fraction], shown, js=clip_sliders([latents, fraction]), **LIVE)


def attributes_tab(model: DemoModel, examples: Sequence[Example]) -> None:
    """Moves a picture along the directions of one or more attributes."""
    rows = model.strongest(MOST_ATTRIBUTES)
    if not rows:
        gr.HTML(
            html.hint(
                "This model was exported without attributes: find some with <code>glow attributes</code>, "
                "then export it with <code>glow export --attributes=attributes.npz</code>."
            ),
            elem_id="no-attributes",
        )
        return
    directions = model.directions[rows]

    def encode(chosen):
        return model.encode(chosen.image[np.newaxis], _labels(chosen))[0]

    @_or_hint
    def move(chosen, latents, *amounts):
        moved = latents + SCALE * np.asarray(amounts, np.float32) @ directions
        (image,) = model.decode(moved[np.newaxis], _labels(chosen))
        return html.figures([model.displayed(chosen.image), image], ["Original", "Changed"], 256)

    def show(chosen, *amounts):
        latents = encode(chosen)
        return latents, move(chosen, latents, *amounts)

    def reset(chosen, latents):
        return [move(chosen, latents, *[0] * len(rows)), *[0] * len(rows)]

    with gr.Row():
        with gr.Column(scale=4, min_width=340, elem_classes="card"):
            picker = Picker(model, examples, min(1, len(examples) - 1), "Choose a picture", "base")
            back = gr.Button("Back to the original", elem_id="reset")
        first, picture = show(picker.first, *[0] * len(rows))
        with gr.Column(scale=7, min_width=320, elem_classes="card stage"):
            shown = gr.HTML(picture, elem_id="changed")
    with gr.Row(elem_id="sliders", elem_classes="card"):
        sliders = [
            gr.Slider(-1, 1, 0, step=0.02, label=display_name(model.names[row]), min_width=100, buttons=[])
            for row in rows
        ]
    latents = gr.State(first)
    given = [picker.chosen, latents]
    moved = [*given, *sliders]
    picker.when_chosen(show, [picker.chosen, *sliders], [latents, shown])
    gr.on([slider.input for slider in sliders], move, moved, shown, js=clip_sliders(moved), **LIVE)
    back.click(reset, given, [shown, *sliders], **LIVE)


def display_name(name: str) -> str:
    """Formats the name of an attribute: `Wearing Hat` for `Wearing_Hat`."""
    words = _DISPLAY_NAMES.get(name, name.replace("_", " ").strip())
    return words[:1].upper() + words[1:]


def _or_hint(draw):
    """Decorates a function that draws a part of the page, to draw a hint instead of raising UndrawableError."""

    @functools.wraps(draw)
    def drawn(*values):
        try:
            return draw(*values)
        except UndrawableError:
            return html.hint("Too wild for this model: it has no picture of that. Lower the temperature, or move less.")

    return drawn


def _labels(example):
    return None if example.label is None else np.array([example.label])


def _verdict(difference, n_bits):
    if not difference and n_bits < 8:
        return f"The same to the first {n_bits} of a colour's 8 bits, which are what the model knows and you see here."
    if not difference:
        return "Pixel for pixel the same: a flow loses nothing."
    return "Not quite the same: this picture is so unusual for the model that its arithmetic runs out of digits."
