"""Linear prediction against distributions computed by hand, and WAV files read back."""

import wave

import numpy as np
import pytest
from scipy import stats

from glow_tf.analysis.sound import LinearPrediction, save_wav

RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 0.3, [3, 500])


def autoregression(n, length):
    """Sounds x[t] = 1.2 x[t - 1] - 0.5 x[t - 2] + e[t], with normal e of standard deviation 0.1."""
    sounds = np.zeros([n, length + 2])
    for t in range(length):
        sounds[:, t + 2] = 1.2 * sounds[:, t + 1] - 0.5 * sounds[:, t] + RNG.normal(0, 0.1, n)
    return sounds[:, 2:]


def test_order_0_is_white_noise():
    model = LinearPrediction.fit(NOISE, 0)
    assert model.variance == pytest.approx(np.mean(NOISE**2))
    other = RNG.normal(0, 0.5, [2, 100])
    expected = -stats.norm(0, np.sqrt(np.mean(NOISE**2))).logpdf(other).mean()
    assert model.nats(other) == pytest.approx(expected)


def test_it_finds_an_autoregression():
    model = LinearPrediction.fit(autoregression(20, 2000), 3)
    np.testing.assert_allclose(model.coefficients, [1.2, -0.5, 0], atol=0.02)
    assert model.variance == pytest.approx(0.01, rel=0.05)
    # What remains is the entropy of the noise.
    assert model.nats(autoregression(20, 2000)) == pytest.approx(stats.norm(0, 0.1).entropy(), abs=0.02)


def test_its_density_is_that_of_a_gaussian_of_many_dimensions():
    model, sounds = LinearPrediction(np.array([0.8, -0.3]), 0.04), RNG.normal(size=[4, 6])
    # e = A x, with ones on the diagonal.
    to_errors = np.eye(6) - 0.8 * np.eye(6, k=-1) + 0.3 * np.eye(6, k=-2)
    covariance = 0.04 * np.linalg.inv(to_errors) @ np.linalg.inv(to_errors).T
    expected = -stats.multivariate_normal(np.zeros(6), covariance).logpdf(sounds).mean() / 6
    assert model.nats(sounds) == pytest.approx(expected)


def test_sounds_of_silence_or_shorter_than_the_order():
    assert np.isfinite(LinearPrediction.fit(NOISE[:, :3], 16).variance)
    assert not LinearPrediction.fit(np.zeros([2, 50]), 4).coefficients.any()


@pytest.mark.parametrize("sounds, order, message", [(NOISE, -1, "order=-1"), (NOISE[:0], 2, "at least one sample")])
def test_what_is_refused(sounds, order, message):
    with pytest.raises(ValueError, match=message):
        LinearPrediction.fit(sounds, order)


def test_wav_files(tmp_path):
    sound = np.stack([[0.5, -1, np.inf, 7], [np.nan, -0.25, -9, 1e-6]], axis=1)
    save_wav(sound, 8000, tmp_path / "new" / "a.wav")
    with wave.open(str(tmp_path / "new" / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (2, 2, 8000, 4)
        read = np.frombuffer(file.readframes(4), "<i2").reshape([4, 2])
    np.testing.assert_allclose(read / 32767, [[0.5, 0], [-1, -0.25], [1, -1], [1, 0]], atol=1 / 32767)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.wav"]
