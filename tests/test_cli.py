"""The `glow` command finds programs and configurations by name, from any folder."""

import os
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

from glow_tf import cli, flagfiles
from tests.marks import slow

ROOT = pathlib.Path(__file__).parent.parent
GLOW = pathlib.Path(sys.executable).parent / "glow"


def glow(*arguments, cwd, **environment):
    return subprocess.run(
        [GLOW, *arguments], capture_output=True, text=True, cwd=cwd, timeout=120, env={**os.environ, **environment}
    )


def test_help_lists_every_command(tmp_path):
    done = glow("--help", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr
    described = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert set(described) - {"glow"} == set(cli.COMMANDS)
    assert all(described.values()) and max(map(len, done.stdout.splitlines())) <= 100
    assert done.stdout == glow(cwd=tmp_path).stdout
    in_ascii = glow("--help", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert (in_ascii.returncode, in_ascii.stderr) == (0, "")
    assert in_ascii.stdout == done.stdout.encode("ascii", "backslashreplace").decode()


def test_every_program_that_has_flags_is_a_command():
    folder = pathlib.Path(cli.__file__).parent / "commands"
    programs = {path.stem for path in folder.glob("*.py") if 'if __name__ == "__main__"' in path.read_text()}
    assert programs - {"startup"} == set(cli.COMMANDS) - {"train"}


@pytest.mark.parametrize("name", ["import-openai", slow("sample")])
def test_help_of_a_command(tmp_path, name):
    done = glow(name, "--help", cwd=tmp_path)
    assert f"glow {name.replace('-', '_')}" in done.stdout
    assert "--[no]" in done.stdout or "--model_dir" in done.stdout
    assert not done.stderr


def test_commands_that_are_not_there_say_which_are(tmp_path):
    done = glow("smaple", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: glow has no command 'smaple'. Did you mean sample? glow --help lists them.\n"
    done = glow("--K=8", "train", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: --K=8 comes before the command;")


def test_flags_lists_every_configuration_with_its_figure(tmp_path):
    done = glow("flags", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[::2]] == flagfiles.names()
    assert all("bits/dim" in line for line in lines[1::2])
    expected = dict(zip((line.split()[0] for line in lines[::2]), lines[1::2], strict=True))
    # Kingma & Dhariwal 2018, table 2.
    assert expected["cifar10"].split()[:2] == ["Expect", "3.35"]
    assert "--K=32\n" in glow("flags", "celeba_hq_256", cwd=tmp_path).stdout
    done = glow("flags", "nope", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error: nope is not a published configuration;")


@pytest.mark.parametrize("name", ["mnist", slow("mnist.flags"), slow("flags/mnist.flags")])
def test_configurations_are_found_by_name_from_any_folder(tmp_path, name):
    done = glow("train", f"--flagfile={name}", "--data_dir=nowhere", "--dataset=folder", cwd=tmp_path)
    # The file was read, and flags after it take precedence.
    assert done.returncode == 1 and "nowhere" in done.stderr and "flagfile" not in done.stderr
    done = glow("train", "--flagfile=mnst", cwd=tmp_path)
    assert done.returncode == 1 and "glow flags lists" in done.stderr


def test_a_file_of_ones_own_comes_before_a_published_one(tmp_path):
    (tmp_path / "mnist").write_text("--dataset=folder\n--data_dir=elsewhere\n")
    assert "elsewhere" in glow("train", "--flagfile=mnist", cwd=tmp_path).stderr


def test_own_parts_are_imported_from_this_folder(tmp_path):
    (tmp_path / "my_module.py").write_text("raise ImportError('here I am')\n")
    done = glow("sample", "--plugins=my_module", cwd=tmp_path)
    assert done.returncode == 1 and "here I am" in done.stderr


# Replaces TensorFlow, to be quick: writes the messages that it writes before it reads its settings.
NOISY = """
import os
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
os.write(2, b"I0000 00:00:1795838515.814134 2379 cudart_stub.cc:31] Could not find cuda drivers on your machine.\\n")
raise ImportError("stop here")
"""
STARTS = [[GLOW, name] for name in cli.COMMANDS]
STARTS += [[sys.executable, "-m", module] for module in ("glow_tf.main", "glow_tf.commands.sample", "tools.sample")]


@pytest.mark.parametrize("start", STARTS, ids=lambda start: str(start[-1]))
def test_tensorflow_starts_without_a_word(tmp_path, start):
    (tmp_path / "tensorflow.py").write_text(NOISY)
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run([*start, "--help"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert "cudart_stub" not in done.stderr and "InitializeLog" not in done.stderr
    assert "stop here" in done.stderr or start[-1] == "flags"


def test_warnings_are_lines_for_people(tmp_path):
    for i in range(30):
        Image.new("RGB", (6, 6), (i, 200, 0)).save(tmp_path / f"{i}.png")
    arguments = ["--dataset=folder", f"--data_dir={tmp_path}", "--image_size=8", "--L=1"]
    done = glow("train", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    warning, error = done.stderr.splitlines()
    assert warning.startswith("warning: Leaving out images smaller than 8x8, such as ")
    assert error.startswith("error: ") and "--upscale" in error


def test_a_reader_that_has_had_enough_ends_it_quietly(tmp_path):
    done = subprocess.run(f"{GLOW} flags | head -1", shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 1 and not done.stderr


@pytest.mark.slow
def test_a_reader_that_goes_while_a_command_computes_ends_it_quietly(tmp_path):
    (tmp_path / "computes.py").write_text(
        "def main():\n    print('one', flush=True)\n    input()\n    print('two', flush=True)\n\n\n"
        "if __name__ == '__main__':\n    from glow_tf.commands import command\n\n    command.run(main)\n"
    )
    code = "from glow_tf import cli; cli.COMMANDS['a'] = 'computes'; cli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "a"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "one\n"
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 1
    process.stderr.close()


AS_A_COMMAND = "from glow_tf import cli; cli.COMMANDS['a'] = 'interrupted'; cli.main()"
AS_A_TOOL = "import tools; from glow_tf.commands import command; import interrupted; command.run(interrupted.main)"


@pytest.mark.parametrize("code", [AS_A_COMMAND, AS_A_TOOL], ids=["glow", "python -m tools"])
def test_ctrl_c_ends_a_command_quietly(tmp_path, code):
    (tmp_path / "interrupted.py").write_text(
        "def main():\n    raise KeyboardInterrupt\n\n\nif __name__ == '__main__':\n    main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = ["a"] if code is AS_A_COMMAND else []
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 130 and "Traceback" not in done.stderr
    # TensorFlow's own messages appear if `glow` has not prepared the environment.
    assert not done.stderr or code is AS_A_TOOL
