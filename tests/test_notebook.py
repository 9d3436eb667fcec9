"""The notebook runs from top to bottom."""

import os
import pathlib

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", 4)
    pictures = [count_of_pictures(cell) for cell in notebook.cells]
    nbclient.NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    # A new run gives as many pictures per cell as the notebook has stored.
    assert [count_of_pictures(cell) for cell in notebook.cells] == pictures and sum(pictures) >= 6
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    for expected in ("test bits/dim:", "the same: True", "log_prob in nats:"):
        assert expected in said
    assert (tmp_path / "runs" / "notebook_export" / "1" / "saved_model.pb").is_file()


def count_of_pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
