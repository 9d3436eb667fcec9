"""Errors of commands, each told in one line."""

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from glow_tf.commands import command, common_flags
from glow_tf.data import DataError, load_source


@pytest.fixture
def no_flags(monkeypatch):
    """Flags of no program, as those of the process may not have been parsed."""
    for module in (command, common_flags):
        monkeypatch.setattr(module, "FLAGS", flags.FlagValues())


def test_what_happens_to_a_file_while_it_is_read_is_told_in_one_line(tmp_path, capsys, no_flags):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros([300, 8, 8, 3], np.uint8))

    def main():
        source = load_source("arrays", data_dir=str(path), test_size=10)
        with open(path, "r+b") as file:
            file.truncate(1000)
        list(source.batches("train", 8))

    with pytest.raises(SystemExit) as ended:
        command.call(main, ["glow evaluate"])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} ends at byte ") and line.endswith("it has been cut off since it was opened.")


def test_bad_input_is_told_in_one_line(capsys, no_flags):
    def main():
        raise DataError("photos holds no images.")

    with pytest.raises(SystemExit):
        command.call(main, ["glow evaluate"])
    assert capsys.readouterr().err == "error: photos holds no images.\n"


def test_an_error_of_tensorflow_itself_is_none_of_the_input(no_flags):
    with pytest.raises(tf.errors.OpError):
        command.call(lambda: tf.linalg.inv(tf.zeros([2, 2])), ["glow evaluate"])


@pytest.mark.slow  # TensorFlow tries for ten seconds.
def test_too_little_memory_is_told_in_one_line(capsys, no_flags):
    with pytest.raises(SystemExit):
        command.call(lambda: tf.fill([2**46], 1.0), ["glow evaluate"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: there is not enough memory: ") and "--batch_size" not in line


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("Unable to allocate 64 TiB")])
def test_the_memory_of_python(capsys, no_flags, error):
    def main():
        raise error

    with pytest.raises(SystemExit):
        command.call(main, ["glow evaluate"])
    assert capsys.readouterr().err == f"error: {str(error) or 'MemoryError'}\n"


def test_the_flag_that_needs_less_memory_is_named(capsys, no_flags):
    def main():
        # TensorFlow itself tries for ten seconds.
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    flags.DEFINE_integer("batch_size", 8, "Images per batch.", flag_values=command.FLAGS)
    with pytest.raises(SystemExit):
        command.call(main, ["glow evaluate"])
    assert "A smaller --batch_size needs less." in capsys.readouterr().err
