"""Speech-like sounds with the requested pitch and formants."""

import numpy as np
import pytest

from glow_tf.data import speech_like
from glow_tf.data.speech import glottal_pulses, resonate

RATE = 8000
VOWELS = [(270, 2290, 3010), (730, 1090, 2440), (300, 870, 2240)]


def test_sounds_fill_their_range_and_differ():
    sounds = speech_like(5, 2000, RATE, seed=1)
    assert sounds.shape == (5, 2000, 1) and sounds.dtype == np.float32
    np.testing.assert_allclose(np.abs(sounds).max((1, 2)), 0.9, rtol=1e-6)
    assert len({sound.tobytes() for sound in sounds}) == 5
    np.testing.assert_array_equal(speech_like(5, 2000, RATE, seed=1), sounds)
    assert np.all(speech_like(5, 2000, RATE, seed=2).std((1, 2)) != sounds.std((1, 2)))
    assert speech_like(0, 10).shape == (0, 10, 1)


@pytest.mark.parametrize("length,rate", [(1, 16000), (777, 8000), (5000, 1000)])
def test_a_sound_is_the_same_whatever_their_number(length, rate):
    sounds = speech_like(9, length, rate, seed=3)
    assert np.all(np.isfinite(sounds))
    for n in (1, 4):
        np.testing.assert_array_equal(speech_like(n, length, rate, seed=3), sounds[:n])


def test_it_is_voiced_as_speech_is():
    """At its loudest, a sound nearly repeats after the period of a voice, of 60 to 500 Hz."""
    for sound in speech_like(20, RATE, RATE, seed=0)[:, :, 0].astype(float):
        middle = np.clip(np.argmax(np.convolve(sound**2, np.ones(400), "same")), 200, RATE - 200)
        loud = sound[middle - 200 : middle + 200]
        matches = [np.corrcoef(loud[lag:], loud[:-lag])[0, 1] for lag in range(RATE // 500, RATE // 60)]
        assert max(matches) > 0.6


def test_its_loudness_rises_and_falls_with_the_syllables():
    sound = speech_like(1, 10 * RATE, RATE, seed=0)[0, :, 0]
    frames = np.sqrt(np.mean(sound.reshape([-1, 80]) ** 2, axis=1))
    quiet = frames < 0.2 * frames.max()
    onsets = np.sum(quiet[:-1] & ~quiet[1:])
    # In ten seconds 33 to 83 syllables begin; the faintest are not counted.
    assert 15 <= onsets <= 83


@pytest.mark.parametrize("pitch", [100.0, 125.0, 200.0])
def test_pulses_are_periodic(pitch):
    pulses = glottal_pulses(np.full([1600], pitch), RATE, phase=0.3)
    period = int(RATE / pitch)
    np.testing.assert_allclose(pulses[period:], pulses[:-period], atol=1e-9)
    # They do not repeat within a period, and the flow through the glottis returns to zero in each.
    for part in (2, 4, 5):
        assert np.abs(pulses[period // part :] - pulses[: -(period // part)]).max() > 0.5
    np.testing.assert_allclose(pulses[:period].sum(), 0, atol=1e-9)


def test_pulses_follow_a_gliding_pitch():
    pitch = np.linspace(100, 200, 2 * RATE)
    pulses = glottal_pulses(pitch, RATE)
    # The flow stops abruptly once per period: 150 Hz on average, for two seconds.
    falls = (pulses[1:-1] < pulses[:-2]) & (pulses[1:-1] <= pulses[2:]) & (pulses[1:-1] < -2)
    times = np.flatnonzero(falls) / RATE
    assert abs(len(times) - 300) <= 1
    periods = np.diff(times)
    assert abs(1 / periods[:5].mean() - 101) < 2 and abs(1 / periods[-5:].mean() - 199) < 4


@pytest.mark.parametrize("formants", VOWELS)
def test_a_click_by_the_recursion_of_each_resonator(formants):
    click = np.zeros(2000)
    click[3] = 1.0
    expected = click
    for frequency, bandwidth in zip(formants, (50, 70, 110), strict=True):
        c = -np.exp(-2 * np.pi * bandwidth / RATE)
        b = 2 * np.exp(-np.pi * bandwidth / RATE) * np.cos(2 * np.pi * frequency / RATE)
        y = np.zeros(len(click) + 2)
        for t, x in enumerate(expected):
            y[t + 2] = (1 - b - c) * x + b * y[t + 1] + c * y[t]
        expected = y[2:]
    np.testing.assert_allclose(resonate(click, formants, RATE), expected, atol=1e-9)


def peaks(spectrum):
    return np.flatnonzero((spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] > spectrum[2:])) + 1


@pytest.mark.parametrize("formants", VOWELS)
def test_the_spectrum_has_its_peaks_at_the_formants(formants):
    click = np.zeros(RATE)
    click[0] = 1.0
    # A second of sound has one bin per Hz.
    found = peaks(np.abs(np.fft.rfft(resonate(click, formants, RATE))))
    np.testing.assert_allclose(found, formants, rtol=0.02)


@pytest.mark.parametrize("formants", VOWELS)
def test_the_harmonics_of_a_vowel_are_strongest_at_its_formants(formants):
    vowel = resonate(glottal_pulses(np.full([RATE], 100.0), RATE), formants, RATE)
    amplitudes = np.abs(np.fft.rfft(vowel))
    harmonics = amplitudes[::100]
    assert np.sum(harmonics**2) > 0.999 * np.sum(amplitudes**2)
    strongest = 100 * peaks(harmonics)
    for formant in formants:
        assert np.abs(strongest - formant).min() <= 100


def test_formants_from_half_of_the_rate_on_are_left_out():
    click = np.zeros(1000)
    click[0] = 1.0
    np.testing.assert_array_equal(resonate(click, (300, 870, 2240), 1000), resonate(click, (300, 500, 600), 1000))
    assert np.abs(resonate(click, (600, 870, 2240), 1000) - click).max() < 1e-12


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((-1, 10), "n=-1 must be an integer of at least 0"),
        ((1, 0), "length=0 must be an integer of at least 1"),
        ((1, 10, 100), "rate=100 must be an integer of at least 1000"),
        ((1, 10, 8000, -1), "seed=-1 must be an integer of at least 0"),
        ((1, 10, 8000.0), "rate=8000.0 must be an integer"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        speech_like(*arguments)
