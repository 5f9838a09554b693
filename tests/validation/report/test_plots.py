"""Pictures: valid SVG without scripts, transparent, the same bytes each time, fit for both backgrounds."""

import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest
import torch

from jlab_compress.core.cloud import Cloud
from jlab_compress.validation.measures.curve import Curve
from jlab_compress.validation.report.plots import INK, STYLES, plot_clouds, plot_gaps, plot_losses


def curve(start, gap, *, held_out=True):
    recorded = (0, 1, 2, 5, 10)
    losses = tuple(start / (1 + t) for t in range(10))
    taken = tuple(start / (1 + t) for t in recorded)
    gaps = tuple(gap * t for t in recorded)
    values = {"training gap": gaps} | ({"held-out loss": taken} if held_out else {})
    return Curve(losses, recorded, values)


def runs(*, held_out=True):
    names = {
        "original": 0.0,
        "slim": 0.1,
        "random subset": 0.5,
        "function only": 0.3,
        "another batch order": 0.2,
    }
    return [
        {name: curve(seed + 1 + gap, gap, held_out=held_out) for name, gap in names.items()}
        for seed in (0, 1)
    ]


def clouds(n, s):
    generator = torch.Generator().manual_seed(0)
    wide, narrow = torch.randn(n, 4, generator=generator), torch.randn(s, 4, generator=generator)
    return Cloud(wide, torch.ones(n)), Cloud(narrow, 1 + torch.rand(s, generator=generator))


PICTURES = {
    "losses": lambda: plot_losses(runs()),
    "training losses": lambda: plot_losses(runs(held_out=False)),
    "gaps": lambda: plot_gaps(runs(), 0.05),
    "clouds": lambda: plot_clouds("0", clouds(40, 6), clouds(40, 6)),
    "many neurons": lambda: plot_clouds("0", clouds(5000, 6), clouds(5000, 6)),
    "one dimension": lambda: plot_clouds("0", *[(Cloud(torch.randn(5, 1), torch.ones(5)),) * 2] * 2),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_svg_without_script_or_background(name):
    figure = PICTURES[name]()
    root = ElementTree.fromstring(figure.svg)
    assert root.tag.endswith("svg")
    assert not [e for e in root.iter() if e.tag.endswith(("script", "image", "foreignObject"))]
    assert "fill: #ffffff" not in figure.svg.replace("fill: #ffffff; opacity: 0", "")
    assert len(figure.svg) < 400_000
    assert figure.alt.endswith(".")


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_values_give_the_same_bytes(name):
    torch.manual_seed(0)
    first = PICTURES[name]().svg
    torch.manual_seed(0)
    with matplotlib.rc_context({"font.size": 31, "axes.facecolor": "black", "svg.hashsalt": None}):
        assert PICTURES[name]().svg == first


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colour", [INK, *(style[0] for style in STYLES.values())])
def test_every_colour_stands_out_on_white_and_on_dark(colour):
    dark = luminance("#111111")
    assert 1.05 / (luminance(colour) + 0.05) >= 3
    assert (luminance(colour) + 0.05) / (dark + 0.05) >= 3


def test_a_picture_of_neurons_names_its_block():
    assert "<!-- Neurons of block enc.2 -->" in plot_clouds("enc.2", clouds(40, 6), clouds(40, 6)).svg


def test_the_words_state_the_result():
    assert "at the end: slim 1, random subset 5" in plot_gaps(runs()).alt
    assert "tolerance" not in plot_gaps(runs()).alt
