"""What the README shows must run."""

import pathlib
import re

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs_and_gives_the_shapes_it_states():
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(compile(example, str(README), "exec"), names)
    stated = re.findall(r"^(\w+) = .*# \[([\d, ]+)\]", example, re.MULTILINE)
    assert len(stated) >= 5
    for name, shape in stated:
        assert names[name].shape == [int(n) for n in shape.split(",")], name


def test_the_files_it_points_to_are_there():
    targets = re.findall(r"\]\(([^)h][^)]*)\)", README.read_text())
    assert targets
    headings = re.findall(r"^#+ (.*)$", README.read_text(), re.MULTILINE)
    sections = {f"#{heading.lower().replace(' ', '-')}" for heading in headings}
    for target in targets:
        assert target in sections or (README.parent / target).is_file(), target
