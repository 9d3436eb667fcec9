"""Text that not every file and terminal can represent."""

import io
import os
import sys

import pytest

from glow_tf.runtime import paths, text
from tests.runtime.test_environment import run

# The bytes `caf\xe9 ` of a file name, as Python decodes them.
LATIN_1 = os.fsdecode(b"caf\xe9 ")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (LATIN_1, r"caf\xe9 "),
        # As decoded in an ASCII locale.
        ("été 😀".encode().decode("ascii", "surrogateescape"), "été 😀"),
        ("été 😀\n", "été 😀\n"),
        ("\ud800", r"\ud800"),
        ("", ""),
    ],
)
def test_what_is_no_unicode_is_an_escape(given, shown):
    assert text.printable(given) == shown


def test_files_are_utf8_in_every_locale(tmp_path):
    code = f"from glow_tf.runtime import text; text.write('a.txt', {LATIN_1!r} + '\\u00e9t\\u00e9')"
    done = run(tmp_path, "-c", code, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.txt").read_bytes() == rb"caf\udce9 " + "été".encode()


def test_lines_are_added(tmp_path):
    text.write(tmp_path / "a.txt", "a\n")
    with text.open_to_write(tmp_path / "a.txt", "a", newline="") as file:
        file.write("b\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"a\nb\r\n"


@pytest.mark.parametrize("encoding", ["ascii", "ascii:surrogateescape", "latin-1", "utf-8:strict"])
def test_programs_print_every_name(tmp_path, encoding):
    (tmp_path / "tensorflow.py").touch()
    code = "from glow_tf.runtime import environment; environment.prepare(); import sys; "
    code += f"[print({LATIN_1!r} + '\\U0001f600', file=stream) for stream in (sys.stdout, sys.stderr)]"
    done = run(tmp_path, "-c", code, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(r"caf\udce9 ")
    assert done.stderr == done.stdout


def test_streams_that_are_no_files_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    text.print_everything()


def test_tensorflow_is_given_names_in_utf8_alone(tmp_path):
    assert paths.local(LATIN_1) == LATIN_1
    assert paths.for_tensorflow("modèle") == "modèle"
    with pytest.raises(ValueError, match=r"--model_dir=caf\\xe9 .* is not a name in UTF-8") as error:
        paths.for_tensorflow(LATIN_1, "--model_dir")
    str(error.value).encode()


def test_a_name_that_the_locale_does_not_write_in_utf8_is_refused(tmp_path):
    """TensorFlow would write the file under a different name than Python reads."""
    code = "import sys; from glow_tf.runtime import paths; paths.for_tensorflow(sys.argv[1])"
    variables = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    done = run(tmp_path, "-c", code, "modèle", PYTHONUTF8="0", **variables)
    assert "set PYTHONUTF8=1" in done.stderr
    assert run(tmp_path, "-c", code, "modèle", PYTHONUTF8="1", **variables).returncode == 0
