"""Synthetic speech-like sounds: syllables of vowels with changing pitch, without any words.

A source-filter model: glottal pulses (Rosenberg 1971) and some breath noise pass through the resonators of a cascade
synthesiser (Klatt 1980), whose frequencies are the vowel formants of men and women (Peterson & Barney 1952).
"""

import math

import numpy as np

from glow_tf.arguments import at_least

# Average F1, F2 and F3 of the vowels in heed, hid, head, had, hod, hawed, hood, who'd, hud, heard, and average pitch,
# in Hz (Peterson & Barney 1952, "Control methods used in a study of the vowels", table II).
_MEN = np.array(
    [
        *[(270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440)],
        *[(570, 840, 2410), (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390), (490, 1350, 1690)],
    ]
)
_WOMEN = np.array(
    [
        *[(310, 2790, 3310), (430, 2480, 3070), (610, 2330, 2990), (860, 2050, 2850), (850, 1220, 2810)],
        *[(590, 920, 2710), (470, 1160, 2680), (370, 950, 2670), (760, 1400, 2780), (500, 1640, 1960)],
    ]
)
_VOICES = ((_MEN, 132.0), (_WOMEN, 223.0))
# Bandwidths of F1, F2 and F3, in Hz (Klatt 1980, "Software for a cascade/parallel formant synthesizer", table I).
_BANDWIDTHS = np.array([50.0, 70.0, 110.0])
# Fractions of a period in which the glottis opens and closes (Rosenberg 1971, "Effect of glottal pulse shape on the
# quality of natural vowels").
_OPENING, _CLOSING = 0.4, 0.16
# Shortest and longest syllable, and how long the resonators ring after one, in seconds.
_SHORTEST, _LONGEST = 0.12, 0.3
_RINGING = 0.1
# Standard deviation of the breath noise, relative to pulses of order 1, and largest magnitude of a sound.
_BREATH = 0.05
_PEAK = 0.9


def speech_like(n: int, length: int, rate: int = 8000, seed: int = 0) -> np.ndarray:
    """Generates sounds like excerpts from speech, each in its own voice.

    A voice is a man's or a woman's. Syllables of 0.12 to 0.3 s follow each other, each with its own vowel and loudness,
    which swells and fades; the pitch glides from one to the next.

    Args:
      n: number of sounds.
      length: number of samples per sound.
      rate: samples per second, at least 1000. Formants at or above half of it are left out.
      seed: seed of the voices and their syllables. Sound i depends on the seed and i alone, not on `n`.

    Returns:
      [n, length, 1] float32; the largest magnitude of each sound is 0.9.

    Raises:
      ValueError: if an argument is out of range.
    """
    at_least("n", n, 0)
    at_least("length", length, 1)
    at_least("rate", rate, 1000)
    at_least("seed", seed, 0)
    sounds = np.empty([n, length, 1], np.float32)
    for i in range(n):
        sounds[i, :, 0] = _excerpt(np.random.default_rng([seed, i]), length, rate)
    return sounds


def glottal_pulses(pitch: np.ndarray, rate: float, phase: float = 0.0) -> np.ndarray:
    """Returns the derivative of the air flow through the glottis, as radiated from the lips.

    Args:
      pitch: pitch at each sample, [..., T], in Hz.
      rate: samples per second.
      phase: position of the first sample within a period, 0 to 1.

    Returns:
      [..., T], of order 1.
    """
    step = np.asarray(pitch) / rate
    phases = phase + np.concatenate([np.zeros([*step.shape[:-1], 1]), np.cumsum(step, axis=-1)], axis=-1)
    place = phases % 1
    opening = 0.5 - 0.5 * np.cos(np.pi * place / _OPENING)
    closing = np.cos(0.5 * np.pi * np.clip((place - _OPENING) / _CLOSING, 0, 1))
    return np.diff(np.where(place < _OPENING, opening, closing), axis=-1) / step


def resonate(source: np.ndarray, formants: np.ndarray, rate: float) -> np.ndarray:
    """Filters sounds by a cascade of three resonators; the ringing at the end wraps around to the beginning.

      y[t] = a x[t] + b y[t - 1] + c y[t - 2]
      c = -exp(-2 pi bandwidth / rate),  b = 2 exp(-pi bandwidth / rate) cos(2 pi formant / rate),  a = 1 - b - c

    Args:
      source: [..., T].
      formants: frequencies of the resonators, [..., 3], in Hz. Those at or above half of the rate are left out.
      rate: samples per second.

    Returns:
      [..., T].
    """
    formants = np.asarray(formants, float)[..., np.newaxis]
    decay = np.exp(-np.pi * _BANDWIDTHS[:, np.newaxis] / rate)
    c = np.where(formants < rate / 2, -(decay**2), 0)
    b = np.where(formants < rate / 2, 2 * decay * np.cos(2 * np.pi * formants / rate), 0)
    length = source.shape[-1]
    delay = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)
    response = np.prod((1 - b - c) / (1 - delay * (b + delay * c)), axis=-2)
    return np.fft.irfft(np.fft.rfft(source) * response, length)


def _excerpt(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """Returns one sound: [length]."""
    vowels, mean_pitch = _VOICES[rng.integers(len(_VOICES))]
    count = math.ceil((length / rate + _LONGEST) / _SHORTEST)
    # Formants vary by up to 5% with the length of the vocal tract, and pitches by a few semitones.
    formants = vowels[rng.integers(len(vowels), size=count)] * rng.uniform(0.95, 1.05)
    pitches = mean_pitch * 2 ** (rng.normal(0, 2 / 12) + rng.normal(0, 2 / 12, count + 1))
    durations, loudness = rng.uniform(_SHORTEST, _LONGEST, count), rng.uniform(0.3, 1, count)
    bounds = np.concatenate([[0], np.cumsum(durations)])
    # The excerpt begins at a random point of the first syllable.
    begin = int(rng.uniform() * durations[0] * rate)
    end, window = begin + length, math.ceil((_LONGEST + _RINGING) * rate)
    pitch = np.interp(np.arange(end + window) / rate, bounds, pitches)
    pulses = glottal_pulses(pitch, rate, rng.uniform())
    breath = _BREATH * rng.standard_normal(end + window)

    count = np.searchsorted(bounds, end / rate)
    spans = np.ceil(bounds[:count, np.newaxis] * rate).astype(int) + np.arange(window)
    place = (spans / rate - bounds[:count, np.newaxis]) / durations[:count, np.newaxis]
    voiced = loudness[:count, np.newaxis] * np.sin(np.pi * place) * pulses[spans]
    syllables = np.where(place < 1, voiced + breath[spans], 0)
    sound = np.zeros(end + window)
    np.add.at(sound, spans, resonate(syllables, formants[:count], rate))
    sound = sound[begin:end]
    return sound * (_PEAK / np.max(np.abs(sound)))
