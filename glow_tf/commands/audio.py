"""Trains a small Glow on synthetic speech, with a custom training loop.

  glow audio --out_dir=runs/audio
  glow audio --out_dir=runs/audio_16k --rate=16000 --seconds=2 --steps=3000 --width=256

The sounds come from `glow_tf.data.speech_like`, with added noise; each step draws new ones, and held-out sounds have
separate seeds. Prints the held-out negative log-density in nats per sample, next to those of two baselines fitted to
128 further sounds: a Gaussian of the same variance, and linear prediction from the previous 16 samples. The defaults
take four to six minutes on two cores, after which samples have formants and rhythm but no steady pitch. Time grows with
--steps, --batch_size, --rate, --seconds and --K.

Writes to --out_dir: the model, which `glow_tf.load` reads; WAV files of held-out sounds, of samples, and of a latent
interpolation between two sounds; and sounds.png with waveforms and spectrograms.
"""

import pathlib

import keras
import numpy as np
import tensorflow as tf
import tqdm
from absl import flags

from glow_tf.analysis.codec import Codec
from glow_tf.analysis.interpolation import interpolate_images
from glow_tf.analysis.plots import save_sounds
from glow_tf.analysis.sampling import Sampler
from glow_tf.analysis.sound import LinearPrediction, save_wav
from glow_tf.commands import command, common_flags, outputs
from glow_tf.data import speech_like
from glow_tf.models import presets, storage
from glow_tf.models.flow import Flow
from glow_tf.shared_flags import define_path

FLAGS = flags.FLAGS

ORDER = 16
# Standard deviation of the noise added to the sounds, whose largest magnitude is 0.9. Without noise, previous samples
# nearly determine the next one, and the density is unbounded.
NOISE = 0.005
HELD_OUT = 32
FITTED = 128
STEPS_ON_THE_WAY = 8

common_flags.define("seed")
define_path("out_dir", "runs/audio", "Folder to write to.", for_tensorflow=True)
flags.DEFINE_integer("steps", 500, "Updates.", lower_bound=1)
flags.DEFINE_integer("rate", 8000, "Samples a second.", lower_bound=1000)
flags.DEFINE_float("seconds", 1.0, "Length of each sound.", 0.001, 60.0)
flags.DEFINE_integer("K", 8, "Steps of flow per level.", lower_bound=1)
flags.DEFINE_integer("L", 2, "Levels of the flow.", lower_bound=1)
flags.DEFINE_integer("squeeze", 8, "Successive samples that become one position at each level.", lower_bound=2)
flags.DEFINE_enum(
    "coupling",
    "additive",
    list(presets.COUPLINGS),
    "Kind of coupling; with few updates additive ones stay better behaved.",
)
flags.DEFINE_integer("width", 64, "Hidden channels of the coupling networks.", lower_bound=1)
flags.DEFINE_integer("batch_size", 8, "Sounds per update.", lower_bound=1)
flags.DEFINE_float("learning_rate", 3e-3, "Learning rate after the warm-up; it falls to 0 by a cosine.", 0.0)
flags.DEFINE_integer("eval_every", 100, "Updates between two evaluations.", lower_bound=1)
flags.DEFINE_float("temperature", 1.0, "Factor on the standard deviation of the latents of samples.", 0.0)
flags.DEFINE_integer("count", 4, "Sounds of each kind to write, at least 2.", lower_bound=2, upper_bound=HELD_OUT)


def main() -> None:
    """Trains the model, and writes it, the sounds and the plot."""
    storage.check_not_pretrained(FLAGS.out_dir, "--out_dir")
    directory = pathlib.Path(FLAGS.out_dir)
    if (directory / storage.CONFIG_FILE).exists():
        raise ValueError(f"--out_dir={directory} holds a model already; name another folder.")
    outputs.check_writable(directory, directory, "out_dir")
    length = round(FLAGS.seconds * FLAGS.rate)
    shape, sizes = (length, 1), (FLAGS.K, FLAGS.L, FLAGS.width)
    flow = Flow(presets.glow_1d(shape, *sizes, FLAGS.coupling, squeeze=FLAGS.squeeze), FLAGS.seed)
    directory.mkdir(parents=True, exist_ok=True)
    # Training uses the seeds from 2 on.
    held_out, fitted = make_sounds(HELD_OUT, length, 0), make_sounds(FITTED, length, 1)
    baselines = {
        "Gaussian of the same variance": LinearPrediction.fit(fitted[..., 0], 0).nats(held_out[..., 0]),
        f"linear prediction of order {ORDER}": LinearPrediction.fit(fitted[..., 0], ORDER).nats(held_out[..., 0]),
    }
    print(f"{HELD_OUT} sounds of {length:,} samples held out, nats per sample:", flush=True)
    for name, nats in baselines.items():
        print(f"{name}: {nats:.3f}", flush=True)
    nats = train(flow, fitted, held_out)
    storage.save(flow, directory, step=FLAGS.steps)
    print(f"flow: {nats:.3f}, after {FLAGS.steps:,} updates")
    for name, baseline in baselines.items():
        verdict = "better" if nats < baseline else "worse"
        print(f"{abs(baseline - nats):.3f} nats per sample {verdict} than the {name}")
    write_sounds(flow, held_out, directory)


def make_sounds(count: int, length: int, seed: int) -> np.ndarray:
    """Makes sounds [count, length, 1] float32, different ones for each seed and --seed."""
    seeds = np.random.SeedSequence([FLAGS.seed, seed]).generate_state(2)
    sounds = speech_like(count, length, FLAGS.rate, seed=int(seeds[0]))
    return sounds + np.random.default_rng(seeds[1]).normal(0, NOISE, sounds.shape).astype(np.float32)


def train(flow: Flow, first: np.ndarray, held_out: np.ndarray) -> float:
    """Trains a flow with Adam on new sounds at each update.

    Args:
      flow: the model, not yet initialised.
      first: sounds [N, T, 1] for its data-dependent initialisation.
      held_out: sounds [M, T, 1], on which it is evaluated every --eval_every updates and at the end.

    Returns:
      The mean negative log-density of `held_out` at the end, in nats per sample.

    Raises:
      ValueError: if the loss is not finite.
    """
    length = held_out.shape[1]
    flow.initialize(first)
    variables = list(flow.named_variables(trainable=True).values())
    warmup = min(20, FLAGS.steps - 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, FLAGS.steps - warmup), warmup_target=FLAGS.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=10.0)
    optimizer.build(variables)

    @tf.function(autograph=False)
    def nats_per_sample(sounds):
        return -tf.reduce_mean(flow.distribution().log_prob(sounds)) / length

    @tf.function(autograph=False)
    def update(sounds):
        with tf.GradientTape() as tape:
            loss = nats_per_sample(sounds)
        optimizer.apply(tape.gradient(loss, variables))
        return loss

    with tqdm.trange(1, FLAGS.steps + 1, unit="step", disable=None) as progress:
        for step in progress:
            loss = float(update(tf.constant(make_sounds(FLAGS.batch_size, length, step + 1))))
            if not np.isfinite(loss):
                raise ValueError(f"The loss of update {step:,} is not finite: lower --learning_rate.")
            progress.set_postfix_str(f"{loss:.3f} nats/sample", refresh=False)
            if step % FLAGS.eval_every == 0 and step < FLAGS.steps:
                progress.write(f"update {step:,}: held out {float(nats_per_sample(tf.constant(held_out))):.3f}")
    return float(nats_per_sample(tf.constant(held_out)))


def write_sounds(flow: Flow, held_out: np.ndarray, directory: pathlib.Path) -> None:
    """Writes the WAV files and the plot."""
    sounds = held_out[: FLAGS.count]
    samples = Sampler(flow, FLAGS.count, temperature=FLAGS.temperature, seed=FLAGS.seed)()
    # Linear: latents between two typical ones are then shorter, and decode to quieter sounds.
    interpolation = interpolate_images(Codec(flow), sounds[:2], STEPS_ON_THE_WAY, "linear")
    for name, kind in {"held_out": sounds, "sample": samples, "interpolation": interpolation}.items():
        for number, sound in enumerate(kind):
            save_wav(sound, FLAGS.rate, directory / f"{name}_{number}.wav")
    rows = {"held out": sounds, f"samples at temperature {FLAGS.temperature:g}": samples}
    title = f"Glow of sound, K={FLAGS.K}, L={FLAGS.L}, width {FLAGS.width}, {FLAGS.steps:,} updates"
    picture = directory / "sounds.png"
    save_sounds({name: kind[..., 0] for name, kind in rows.items()}, FLAGS.rate, picture, title=title)
    print(directory)


if __name__ == "__main__":
    command.run(main)
