"""The model card of a run: `README.md` in its model directory, for people and for the Hugging Face Hub."""

import dataclasses
import json
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from glow_tf import description
from glow_tf.config import ModelConfig
from glow_tf.data import Source
from glow_tf.data.bundled import NAME as BUNDLED
from glow_tf.models import storage
from glow_tf.runtime import text
from glow_tf.runtime.files import atomic_write
from glow_tf.training.config import TrainingConfig
from glow_tf.training.evaluation import Evaluation, count_of, with_error
from glow_tf.training.run_record import FLAGFILE

CARD_FILE = "README.md"
# Name and paper of each preset.
_FAMILIES = {
    "glow": ("Glow", "Kingma & Dhariwal 2018", "1807.03039"),
    "real_nvp": ("RealNVP", "Dinh et al. 2017", "1605.08803"),
    "nice": ("NICE", "Dinh et al. 2014", "1410.8516"),
    "flow_plus_plus": ("Flow++", "Ho et al. 2019", "1902.00275"),
    "jet": ("Jet", "Kolesnikov et al. 2024", "2412.15129"),
}
# Spaces, line breaks, control characters, and characters that change the text direction.
_NOT_IN_A_LINE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]+")
_MOST_CLASSES = 20
_PICTURE = re.compile(r"step_\d+\.png", re.ASCII)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Best:
    """The best evaluation of a run: `bits_per_dim` over `images` held-out images, at step `step`."""

    bits_per_dim: float
    step: int
    images: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """Contents of a model card.

    Attributes:
      name: name of the model directory, the last part of its path.
      config: the model.
      parameters: number of trainable parameters.
      source: the data.
      training: the training settings.
      step: current step of the run.
      last: evaluation at that step.
      best: best evaluation so far.
      starts: starts of the run, as in `RunRecord`.
      flagfile: whether there is a flagfile that repeats the run.
      pictures: paths of the newest `samples` and `reconstructions`, where they exist, relative to the directory.
    """

    name: str
    config: ModelConfig
    parameters: int
    source: Source
    training: TrainingConfig
    step: int
    last: Evaluation
    best: Best
    starts: Sequence[Mapping[str, Any]]
    flagfile: bool
    pictures: Mapping[str, str]

    def markdown(self) -> str:
        """Returns the card as GitHub Markdown, with the metadata for the Hugging Face Hub as YAML front matter."""
        parts = [
            self._metadata(),
            f"# {_code(self.name)}",
            self._summary(),
            self._picture("samples", f"Samples at temperature {self.training.temperature:g}"),
            "## Results\n\n" + self._results(),
            "## Usage\n\n" + self._usage(),
            "## Data\n\n" + _table(self._data()),
            "## Model\n\n" + _table(self._model()),
            self._picture("reconstructions", "Held-out images, each above its reconstruction"),
            "## Training\n\n" + self._training(),
            "## Limitations\n\n" + self._limitations(),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _metadata(self) -> str:
        # A JSON string is also a YAML string.
        model, data = (json.dumps(_clean(name), ensure_ascii=False) for name in (self.name, self.source.title))
        tags = ["normalizing-flow", *([self.config.name.replace("_", "-")] if self.config.name in _FAMILIES else [])]
        lines = [
            "---",
            "library_name: glow_tf",
            "pipeline_tag: unconditional-image-generation",
            "tags:",
            *(f"- {tag}" for tag in [*tags, "image-generation", "density-estimation", "tensorflow"]),
            "model-index:",
            f"- name: {model}",
            "  results:",
            "  - task:",
            "      type: unconditional-image-generation",
            "    dataset:",
            f"      type: {data}",
            f"      name: {data}",
            "    metrics:",
            "    - type: bits_per_dim",
            "      name: bits/dim on held-out images",
            f"      value: {self.last.mean:.4f}",
            "---",
        ]
        return "\n".join(lines)

    def _summary(self) -> str:
        size = "x".join(map(str, self.config.image_shape[:2]))
        colour = "grey" if self.config.image_shape[-1] == 1 else "colour"
        given = ", given their labels" if self.config.conditional else ""
        return (
            f"A normalizing flow of {size} {colour} pictures{given}, trained on {_code(self.source.title)} for "
            f"{count_of(self.step, 'step')}. It draws pictures, tells the likelihood of one, and turns pictures "
            "into latents and back."
        )

    def _results(self) -> str:
        def row(name: str, bits: str, images: int, step: int) -> list[str]:
            return [name, bits, f"{images:,}", f"{step:,}"]

        last = with_error(self.last.mean, self.last.standard_error).replace("+-", "±")
        rows = [row("last", last, self.last.images, self.step)]
        if self.best.step:
            rows.append(
                row("best, in [best/](best)", f"{self.best.bits_per_dim:.3f}", self.best.images, self.best.step)
            )
        lines = [_grid(["evaluation", "bits/dim", "held-out images", "step"], rows)]
        if self.last.label_error is not None:
            lines.append(f"The label error of the last evaluation is {100 * self.last.label_error:.1f} %.")
        average = "the moving average of the weights" if self.training.ema_decay else "the weights"
        lines.append(
            "bits/dim: an upper bound on the bits that a lossless code by the model needs for each channel of a pixel, "
            "from one draw of the dequantization noise an image; `glow evaluate --samples=16` gives a tighter one. "
            f"Less is better. These are of {average}. All evaluations are in [metrics.jsonl](metrics.jsonl)."
        )
        return "\n\n".join(lines)

    def _usage(self) -> str:
        modules = [name for name in description.modules(json.loads(self.config.to_json())) if name != "__main__"]
        # The bare name would be that of a model which ships with the package.
        path = f"./{self.name}" if self.name in storage.PRETRAINED else self.name
        name = json.dumps(text.printable(path), ensure_ascii=False)
        temperature, shape = f"{self.training.temperature:g}", ", ".join(map(str, self.config.image_shape))
        label = ", labels=[0] * 16" if self.config.conditional else ""
        python = [
            "import glow_tf",
            *(f"import {name}  # has parts of the model" for name in modules),
            "",
            f"flow = glow_tf.load({name})  # the folder of this file, or best/ in it",
            f"images = flow.sample(16, temperature={temperature}{label}, seed=0)  # [16, {shape}] uint8",
            f"bits = flow.bits_per_dim(images{label}, seed=0)  # [16]",
            f"latents = flow.encode(images{label})  # [16, {self.config.dimensions}]",
        ]
        folder = f"--model_dir={shlex.quote(text.printable(path))}"
        plugins = f" --plugins={','.join(modules)}" if modules else ""
        commands = [
            *(f"glow {command} {folder}{plugins}" for command in ("sample", "evaluate", "demo")),
            f"glow train {folder} --resume --steps={2 * self.training.steps}",
        ]
        return f"{_fenced('python', python)}\n\n{_fenced('sh', commands)}\n\nEach from the folder above this one."

    @property
    def _trained_on(self) -> int:
        if self.training.labelled_only:
            return self.training.labels_per_class * self.source.num_classes
        return self.source.sizes["train"]

    def _data(self) -> dict[str, str]:
        source, names = self.source, self.source.class_names
        ellipsis = ", ..." if len(names) > _MOST_CLASSES else ""
        cropped = source.stored_shape != source.image_shape
        bits = f", {self.config.n_bits} bits a channel" if self.config.n_bits else ""
        return {
            "data set": _code(source.title),
            "images": f"{self._trained_on:,} to train on, {source.sizes['test']:,} held out",
            "left out": count_of(len(source.skipped), "image that cannot be used") if source.skipped else "",
            "size": "x".join(map(str, self.config.image_shape)) + bits,
            "cropped from": "{}x{}".format(*source.stored_shape) if cropped else "",
            "classes": f"{len(names)}: {', '.join(map(_code, names[:_MOST_CLASSES]))}{ellipsis}" if names else "",
        }

    def _model(self) -> dict[str, str]:
        family = _code(self.config.name)
        if self.config.name in _FAMILIES:
            name, authors, paper = _FAMILIES[self.config.name]
            family = f"{name} ({authors}, [arXiv:{paper}](https://arxiv.org/abs/{paper}))"
        return {
            "family": family,
            "parameters": f"{self.parameters:,}",
            "levels": str(len(self.config.latent_shapes)),
            "hidden channels of the widest network": f"{self.config.hidden_channels:,}",
            "dequantization": _code(type(self.config.dequantizer).__name__),
            "every layer": "[config.json](config.json)",
        }

    def _training(self) -> str:
        training = self.training
        schedule = "" if training.lr_schedule == "constant" else f", {training.lr_schedule} schedule"
        last = self.starts[-1]
        seconds = sum(start["seconds"] for start in self.starts)
        parts = training.accumulate_steps
        augmented = ["mirrored"] * training.flip + [f"moved by up to {training.shift} pixels"] * (training.shift > 0)
        rows = {
            "steps": f"{self.step:,} of {training.steps:,}",
            "batch": count_of(training.batch_size, "image") + (f" in {parts} parts" if parts > 1 else ""),
            "optimizer": ", ".join([training.optimizer, *_optimizer_settings(training)]),
            "learning rate": f"{training.learning_rate:g}{schedule}",
            "warm-up": count_of(training.warmup_steps, "step") if training.warmup_steps else "",
            "moving average": f"{training.ema_decay:g}" if training.ema_decay else "none",
            "gradient clipping (norm)": f"{training.clip_norm:g}" if training.clip_norm else "",
            "weight of the label loss": f"{training.label_loss_weight:g}" if training.label_loss_weight else "",
            "labels used of each class": f"{training.labels_per_class:,}" if training.labels_per_class else "",
            "augmentation": ", ".join(augmented),
            "initialised from": _code(pathlib.Path(training.init_from).name) if training.init_from else "",
            "precision of networks": training.network_precision,
            "seed": str(training.seed),
            "devices": f"{count_of(last['replicas'], 'replica')} on {_code(last['devices'])}",
            "time": _time(seconds) + (f", started {len(self.starts)} times" if len(self.starts) > 1 else ""),
            "versions": ", ".join(_code(f"{name} {version}") for name, version in last["versions"].items()),
        }
        rest = "[training.json](training.json) has every setting, [run.json](run.json) the commands."
        if not self.flagfile:
            return f"{_table(rows)}\n\n{rest}"
        file = shlex.quote(f"{text.printable(self.name)}/{FLAGFILE}")
        command = f"glow train --flagfile={file} --model_dir=again"
        return f"{_table(rows)}\n\n{rest} The same run elsewhere:\n\n{_fenced('sh', [command])}"

    def _limitations(self) -> str:
        lines = [
            f"The model knows pictures like the {self._trained_on:,} it has learned from, at this size. Its "
            "samples can resemble single ones of them: `glow nearest` shows those that are closest.",
            "A high likelihood does not mean that a picture is of this kind: flows give it to smooth pictures of other "
            "kinds as well (Nalisnick et al. 2019, [arXiv:1810.09136](https://arxiv.org/abs/1810.09136)).",
        ]
        if self.source.name == BUNDLED:
            lines.append("It has learned from pictures of Noto Emoji, copyright Google Inc., Apache License 2.0.")
        else:
            lines.append("No licence is stated here: which there can be depends on that of the pictures.")
        return "\n".join(f"- {line}" for line in lines)

    def _picture(self, kind: str, caption: str) -> str:
        if kind not in self.pictures:
            return ""
        path = self.pictures[kind]
        return f"![{kind.capitalize()}]({path})\n\n*{caption}, at step {_step_of(path):,}.*"


def _optimizer_settings(training: TrainingConfig) -> list[str]:
    """Returns the settings of the optimizer that are not at their defaults; AdamW's weight decay has none."""
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
    values = {name: getattr(training, name) for name in ("beta1", "beta2", "epsilon", "weight_decay")}
    return [f"{name.replace('_', ' ')} {value:g}" for name, value in values.items() if value != defaults[name]]


def write(directory: pathlib.Path, card: Card) -> None:
    """Writes a card to `README.md` in a model directory."""
    with atomic_write(directory / CARD_FILE) as temporary:
        text.write(temporary, card.markdown())


def newest_pictures(directory: pathlib.Path, step: int) -> dict[str, str]:
    """Returns the paths of the newest `samples` and `reconstructions` up to a step, relative to the directory."""
    found = {}
    for kind in ("samples", "reconstructions"):
        # Only the pictures of the run, not copies of them or others.
        names = [path.name for path in (directory / kind).glob("step_*.png")]
        paths = [f"{kind}/{name}" for name in names if _PICTURE.fullmatch(name)]
        found[kind] = max((path for path in paths if _step_of(path) <= step), key=_step_of, default=None)
    return {kind: path for kind, path in found.items() if path}


def _step_of(path: str) -> int:
    return int(pathlib.PurePosixPath(path).stem.removeprefix("step_"))


def _clean(name: str) -> str:
    """Returns a name that is safe to use within a line."""
    return _NOT_IN_A_LINE.sub(" ", text.printable(name)).strip()


def _code(name: str) -> str:
    """Returns a name as inline code, in which Markdown and HTML have no effect."""
    cleaned = _clean(name) or "?"
    ticks = _ticks(cleaned, 1)
    space = " " if "`" in (cleaned[0], cleaned[-1]) else ""
    return f"{ticks}{space}{cleaned}{space}{ticks}"


def _fenced(language: str, lines: Sequence[str]) -> str:
    ticks = _ticks("\n".join(lines), 3)
    return "\n".join([f"{ticks}{language}", *lines, ticks])


def _ticks(content: str, least: int) -> str:
    """Returns at least `least` backticks, and more than `content` has in a row."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", content)), default=0))


def _table(rows: Mapping[str, str]) -> str:
    """Returns a table of names and values, without the rows whose value is empty."""
    # The first row becomes the header: GitHub renders an empty header as an extra row.
    header, *rest = [[name, value] for name, value in rows.items() if value]
    return _grid(header, rest)


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [header, ["---"] * len(header), *rows]
    # A pipe ends a cell even in code.
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells)


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"
