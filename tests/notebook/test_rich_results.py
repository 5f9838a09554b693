"""Every result shows as text and as a card without scripts, whatever the layers are called."""

from collections import OrderedDict
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.compression.compress import compress_baseline
from jlab_compress.notebook.magic.cards import module_report

HOSTILE = "<script>alert(1)</script> &<img src=x onerror=alert(2)>" + "é字" * 20


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One result of each stage, for a model whose layers have hostile names."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [(HOSTILE, nn.Linear(4, 16)), ("act", nn.Tanh()), ("out", nn.Linear(16, 2))]
        net = nn.Sequential(OrderedDict(layers))
        x = torch.randn(32, 4)
    made = compress_baseline(net, {HOSTILE: 4}, calibration=x, method="k-means")
    pairs = [(x[:16], x[:16, :2]), (x[16:], x[16:, :2])]
    return {
        "blocks": jlab_compress.find_blocks(net),
        "sweep": jlab_compress.sweep(net, [4, 8], calibration=x, effort="quick"),
        "compression": made,
        "validation": jlab_compress.validate(
            net,
            made.model,
            pairs,
            nn.functional.mse_loss,
            optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
            steps=2,
            held_out=pairs[0],
            references=("another batch order",),
            progress=False,
        ),
        "export": jlab_compress.export_onnx(made.model, tmp_path_factory.mktemp("x") / "<b>.onnx", x[:4]),
        "module": module_report(net),
    }


class Tags(HTMLParser):
    """The tags and attributes that a browser would see."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


KINDS = ["blocks", "sweep", "compression", "validation", "export", "module"]


@pytest.mark.parametrize("kind", KINDS)
def test_cards_hold_no_script_and_show_names_as_text(results, kind):
    page = results[kind]._repr_html_()
    found = Tags(page)
    assert found.tags <= {
        "div",
        "h4",
        "p",
        "strong",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "img",
    }
    assert found.attributes <= {"class", "style", "scope", "alt", "title", "src"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_check_sees_a_name_that_was_not_escaped():
    found = Tags(f"<p>{HOSTILE}</p>")
    assert "script" in found.tags
    assert "onerror" in found.attributes


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_what_a_plain_shell_shows(plain_shell, results, kind):
    text = str(results[kind])
    assert HOSTILE in text
    assert plain_shell.display_formatter.format(results[kind])[0]["text/plain"] == text
