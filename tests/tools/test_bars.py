"""Bar plots."""

from tests.analysis.test_plots import texts
from tools.bars import save_bars


def test_bars_are_labelled_and_any_name_is_drawn_as_it_is(tmp_path):
    """Also where matplotlib would read mathematics."""
    name, path = "_cost_$5_$10", tmp_path / "a.svg"
    save_bars({name: {name: 1.0, "b": 1234.0}}, path, title=name, highlighted=[name])
    # In the titles of figure and panel, and beside the bar.
    assert texts(path).count(name) == 3
    assert "1.23e+03" in texts(path) and "1" in texts(path)
