"""The panel as a picture: names are text, widths are bars."""

import re

from jlab_compress.notebook.widget.still import MOST_BARS, bars, width_bars


def test_the_picture_quotes_names():
    row = {"name": "<b>&", "width": 3}
    assert "&lt;b&gt;&amp;" in bars([row])
    assert "<b>" not in bars([row])
    assert width_bars({"models": []}).summary == "No torch model is alive."


def test_bars_are_as_long_as_the_widths():
    picture = bars([{"name": "a", "width": 50}, {"name": "b", "width": 100}])
    short, long = (float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', picture))
    assert long == 2 * short


def test_of_many_blocks_the_first_are_drawn():
    assert bars([{"name": "a", "width": 1}] * (MOST_BARS + 5)).count("<rect") == MOST_BARS
