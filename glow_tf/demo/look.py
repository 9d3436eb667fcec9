"""Theme and style sheet of the page, with system fonts only, so that none is fetched."""

import gradio as gr

from glow_tf.demo import html
from glow_tf.demo.model import DemoModel

_FONTS = ["ui-rounded", "system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]
_DICE = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E"
    "%3Crect x='2' y='2' width='20' height='20' rx='5' fill='white'/%3E%3Cg fill='%237c3aed'%3E"
    "%3Ccircle cx='7.5' cy='7.5' r='2'/%3E%3Ccircle cx='16.5' cy='7.5' r='2'/%3E%3Ccircle cx='12' cy='12' r='2'/%3E"
    "%3Ccircle cx='7.5' cy='16.5' r='2'/%3E%3Ccircle cx='16.5' cy='16.5' r='2'/%3E%3C/g%3E%3C/svg%3E"
)
# An attribute's slider is filled from the middle, which stands for no change.
_BAR = (
    "linear-gradient(to right, var(--neutral-200) var(--at), var(--slider-color) var(--at), "
    "var(--slider-color) var(--to), var(--neutral-200) var(--to))"
)
_CSS = """
.gradio-container { max-width: 1180px !important; width: 100%; margin: 0 auto !important; }
.gradio-container .fillable { padding: 20px; width: 100%; max-width: 1180px !important; }
.gradio-container .html-container { padding: 0; }
.prose h3 { margin: 4px 0 0; font-size: 1rem; }
.sharp { image-rendering: pixelated; }

.banner { display: flex; align-items: center; justify-content: space-between; gap: 20px 40px; padding: 18px 32px;
  border-radius: 20px; color: white;
  background: linear-gradient(115deg, #6d28d9 0%, #a21caf 45%, #e11d74 75%, #f97316 100%); }
.banner h1 { margin: 0; color: white; font-size: 2.4rem; line-height: 1.1; letter-spacing: -0.02em; }
.banner p { margin: 6px 0 12px; color: #fdf2ff; font-size: 1.05rem; max-width: 34rem; }
.banner span { display: inline-block; margin: 0 6px 4px 0; padding: 2px 10px; border-radius: 99px; color: white;
  background: #ffffff2e; font-size: 0.8rem; }
.crowd { display: grid; flex: none; gap: 8px; }
.crowd img { margin: 0; border-radius: 12px; box-shadow: 0 3px 10px #3b076450; transition: transform 0.2s; }
.crowd img:hover { transform: translateY(-4px) rotate(-3deg) scale(1.08); }
@media (max-width: 760px) { .banner { flex-wrap: wrap; padding: 20px; } }

.tab-container > button { white-space: nowrap; }
@media (max-width: 480px) {
  .crowd { display: none; }
  .tab-container > button { padding: 0 6px; font-size: 0.85rem; }
}

.card { padding: 24px; border-radius: 18px; background: var(--block-background-fill);
  box-shadow: 0 1px 6px #0f172a14; }
.card > .block, .card > .form, .card > .form > .block { padding: 0; border: 0; box-shadow: none; background: none; }
.card > .form, .card > .form > .block { overflow: visible !important; }
.card > .form { gap: 20px; }
.card > .block:has(.prose:empty) { display: none; }
.stage { justify-content: center; }
.card img, .choices img { margin: 0; }
.grid, .strip { display: grid; gap: 10px; justify-content: center; }
.grid img, .strip img { border-radius: 10px; max-width: 100%; height: auto; box-shadow: 0 2px 8px #0000001f; }
.strip { gap: 4px; }
.strip img { border-radius: 6px; }
.figures { display: flex; flex-wrap: wrap; gap: 16px 28px; justify-content: center; }
.figures figure { margin: 0; text-align: center; }
.figures img { border-radius: 16px; max-width: 100%; height: auto; box-shadow: 0 4px 16px #00000026; }
.figures figcaption { margin-top: 10px; font-weight: 600; color: var(--body-text-color-subdued); }
.facts { display: flex; flex-wrap: wrap; gap: 12px; justify-content: center; margin-top: 16px; }
.facts div { min-width: 190px; padding: 10px 18px; border-radius: 14px; text-align: center;
  background: var(--background-fill-secondary); }
.facts b { display: block; font-size: 1.5rem; color: var(--primary-600); }
.dark .facts b { color: var(--primary-300); }
.facts span { font-size: 0.85rem; color: var(--body-text-color-subdued); }
.hint { margin: 12px 0 0; text-align: center; color: var(--body-text-color-subdued); }
.note { margin: 0; padding: 10px 14px; border-radius: 12px; color: #9f1239; background: #ffe4e6; }

.choices { display: grid; grid-template-columns: repeat(6, auto); gap: 4px; justify-content: start; }
.choices button { margin: 0; padding: 3px; border: 2px solid transparent; border-radius: 12px; background: none;
  cursor: pointer; line-height: 0; transition: transform 0.12s; }
.choices button:hover { transform: scale(1.12); }
.choices button[aria-pressed=true] { border-color: var(--primary-500); }
.choices img { border-radius: 8px; max-width: 100%; height: auto; box-shadow: 0 1px 3px #00000026; }
.card > .drop { border: 2px dashed var(--border-color-primary) !important; border-radius: 14px; }
.drop .upload-container > div { flex-direction: row; gap: 8px; min-height: 0; padding: 0; font-size: 0.9rem; }
.drop .icon-wrap { width: 18px; height: 18px; margin: 0; }

#sliders > .form { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 24px 32px;
  border: 0; box-shadow: none; background: none; }
#sliders input[type=range] { --at: min(50%, var(--range_progress)); --to: max(50%, var(--range_progress)); }
#sliders input[type=range]::-webkit-slider-runnable-track { background: BAR; }
#sliders input[type=range]::-moz-range-track { background: BAR; }
#sliders input[type=range]::-moz-range-progress { background: none; }

/* On phones, what a control changes is above it, and on the screen together with it. */
@media (max-width: 640px) {
  .card { padding: 16px; }
  .above { order: -1; }
  .figures { flex-wrap: nowrap; gap: 12px; }
  .facts div { flex: 1; min-width: 0; padding: 10px; }
  .drop .upload-container > div { gap: 6px; font-size: 0.8rem; white-space: nowrap; }
}

.dice { font-weight: 600; }
.dice::before { content: ''; width: 22px; height: 22px; margin-right: 8px; background: url("DICE") no-repeat center;
  transition: transform 0.3s; }
.dice:hover::before { transform: rotate(90deg); }
.dice:active::before { transform: rotate(270deg); }
""".replace("DICE", _DICE).replace("BAR", _BAR)


def gradio_arguments() -> dict[str, object]:
    """Returns Gradio's arguments for the theme and the style sheet."""
    theme = gr.themes.Soft(
        primary_hue="violet", secondary_hue="fuchsia", neutral_hue="slate", font=_FONTS, font_mono=["monospace"]
    ).set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_padding="0",
        block_title_text_weight="600",
    )
    return {"theme": theme, "css": _CSS}


def banner(model: DemoModel) -> str:
    """Returns the header of the page: an introduction and a few samples from the model."""
    height, width, channels = model.image_shape
    about = [f"{width} × {height} pixels", "colour" if channels == 3 else "grey", f"{model.dimensions:,} latents"]
    if model.num_classes:
        about.append(f"{model.num_classes} classes")
    crowd = html.grid(model.sample(min(8, model.most_images), 0.6, 3), 4, 256, "Drawn by the model", kind="crowd")
    chips = "".join(f"<span>{text}</span>" for text in about)
    return (
        f'<header class="banner"><div><h1>Glow</h1><p>Every picture is a point in a space of numbers, and every '
        f"point is a picture. Draw, blend and bend them.</p>{chips}</div>{crowd}</header>"
    )
