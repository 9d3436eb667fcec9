"""Sound: an autoregressive Gaussian, the baseline for flows of sound, and WAV files."""

import dataclasses
import math
import os
import wave

import numpy as np

from glow_tf.arguments import at_least
from glow_tf.runtime.files import atomic_write


@dataclasses.dataclass(frozen=True, eq=False)
class LinearPrediction:
    """A Gaussian whose mean is a linear function of the preceding samples, as in linear predictive coding.

      x[t] ~ N(sum_k a_k x[t - k], variance),  k = 1 ... order;  x[t] = 0 before the sound begins

    With order 0, it is white noise with the mean square of the data as its variance.

    Attributes:
      coefficients: a_1 ... a_order, [order].
      variance: variance of the prediction error.
    """

    coefficients: np.ndarray
    variance: float

    @classmethod
    def fit(cls, sounds: np.ndarray, order: int) -> "LinearPrediction":
        """Fits the model to sounds [N, T] by least squares, which for a Gaussian is maximum likelihood.

        Raises:
          ValueError: if the order is negative, or there are no sounds.
        """
        at_least("order", order, 0)
        if not sounds.size:
            raise ValueError("Linear prediction needs at least one sample of sound.")
        products = _products(sounds, order)
        coefficients = np.linalg.lstsq(products[1:, 1:], products[1:, 0], rcond=None)[0]
        return cls(coefficients, _squared_error(products, coefficients) / sounds.size)

    def nats(self, sounds: np.ndarray) -> float:
        """Returns the mean negative log-density of sounds [N, T], in nats per sample."""
        errors = _squared_error(_products(sounds, len(self.coefficients)), self.coefficients) / sounds.size
        return 0.5 * (math.log(2 * math.pi * self.variance) + errors / self.variance)


def save_wav(sound: np.ndarray, rate: int, path: str | os.PathLike) -> None:
    """Writes sound [T, C] as a 16-bit WAV file, atomically; it is clipped to [-1, 1], and NaN becomes silence.

    Args:
      sound: [T, C] floats.
      rate: samples per second.
      path: the file to write.
    """
    samples = np.rint(np.clip(np.nan_to_num(sound), -1, 1) * 32767).astype("<i2")
    with atomic_write(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def _products(sounds: np.ndarray, order: int) -> np.ndarray:
    """Returns sum_t x[t - i] x[t - j] over all sounds [N, T], for i, j = 0 ... order."""
    padded = np.pad(np.asarray(sounds, np.float64), ((0, 0), (order, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, order + 1, axis=-1)[..., ::-1]
    # One sound at a time, as all windows at once would take order + 1 times the memory.
    return sum(rows.T @ rows for rows in windows)


def _squared_error(products: np.ndarray, coefficients: np.ndarray) -> float:
    weights = np.concatenate([[1.0], -coefficients])
    return float(weights @ products @ weights)
