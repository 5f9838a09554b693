"""Cards for modules, only where they are asked for."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from jlab_compress.notebook.kernel import block_cache, structure
from jlab_compress.notebook.magic.cards import ROWS, module_report
from jlab_compress.report import Report, Table

HOSTILE = "<script>alert(1)</script>\n\"'" + "é字" * 5000


def blocks(*names):
    rows = tuple((name, 8) for name in names)
    report = Report("Blocks", f"{len(rows)} blocks.", tables=(Table("Blocks", ("name", "width"), rows),))
    return SimpleNamespace(report=report)


@pytest.fixture
def net(monkeypatch):
    monkeypatch.setattr(block_cache, "search_blocks", lambda model: blocks("0"))
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))


def shown(shell, value):
    return shell.display_formatter.format(value)[0]


def test_modules_are_shown_as_torch_does_unless_asked(shell, net):
    assert shown(shell, net) == {"text/plain": repr(net)}
    shell.run_line_magic("config", "Compress.cards = True")
    card = shown(shell, net)
    assert card["text/plain"].splitlines()[0] == "Sequential"
    assert "<table" in card["text/html"]
    shell.run_line_magic("config", "Compress.cards = False")
    assert shown(shell, net) == {"text/plain": repr(net)}


def test_subclasses_have_cards_and_containers_keep_their_form(shell, net):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

    shell.run_line_magic("config", "Compress.cards = True")
    assert "text/html" in shown(shell, Own())
    assert shown(shell, [net])["text/plain"] == f"[{net!r}]"


def test_the_card_counts(net):
    net.eval()
    facts = module_report(net.to(torch.float16)).facts
    assert facts == {
        "parameters": 41,
        "bytes": 82,
        "dtype": "float16",
        "device": "cpu",
        "mode": "evaluation",
    }
    assert "name  width" in str(module_report(net))


def test_the_card_counts_the_bytes_of_buffers(net):
    before = module_report(net).facts["bytes"]
    assert module_report(net.append(nn.BatchNorm1d(1))).facts["bytes"] == before + 4 * (2 + 2) + 8


def test_shared_parameters_count_once(net):
    net.add_module("again", net[0])
    assert module_report(net).facts["parameters"] == 41


def test_a_model_without_readable_blocks_says_why(net, monkeypatch):
    monkeypatch.setattr(block_cache, "search_blocks", lambda model: "it has <no> inputs")
    report = module_report(net)
    assert report.notes == ("The blocks cannot be read: it has <no> inputs",)
    assert report.facts["parameters"] == 41


def test_lazy_and_empty_modules_have_a_sentence():
    assert module_report(nn.LazyLinear(3)).summary == "Some parameters have no shape yet; run the model once."
    assert module_report(nn.ReLU()).summary == "A module without parameters."


def test_many_blocks_are_cut_and_counted(net, monkeypatch):
    monkeypatch.setattr(
        block_cache, "search_blocks", lambda model: blocks(*(str(i) for i in range(ROWS + 5)))
    )
    report = module_report(net)
    assert len(report.tables[0].rows) == ROWS
    assert report.notes == ("5 more blocks: `jlab_compress.find_blocks` shows all.",)


def test_hostile_names_are_text(shell, net, monkeypatch):
    monkeypatch.setattr(block_cache, "search_blocks", lambda model: blocks(HOSTILE))
    net.__class__ = type(HOSTILE.replace("\n", ""), (nn.Sequential,), {})
    shell.run_line_magic("config", "Compress.cards = True")
    page = shown(shell, net)["text/html"]
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_large_model_is_not_searched(net, monkeypatch):
    monkeypatch.setattr(structure, "LARGE_BYTES", 100)
    report = module_report(net)
    assert report.tables == ()
    assert report.notes == ("A large model: `%compress inspect` lists its blocks.",)


def test_the_model_is_not_changed(net):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    module_report(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net.training
