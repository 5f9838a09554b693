"""The kernel's messages: the shape that both sides agreed on, bounded, without a word of user code."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.compression.compress import Compression
from jlab_compress.inspection.block import Blocks
from jlab_compress.notebook.kernel.block_cache import search_blocks
from jlab_compress.notebook.kernel.messages import REPORT_CAP, ROW_CAP, TEXT_CAP, Digest, block_rows
from jlab_compress.notebook.kernel.namespace import survey
from jlab_compress.report import Chart, Report, Reported, Table
from jlab_compress.slim.conversion import attach_plan
from jlab_compress.slim.plan import BlockPlan, Plan

FIXTURE = json.loads(
    (Path(__file__).parents[3] / "labextension" / "fixtures" / "messages.json").read_text("utf-8")
)


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))


def state_of(namespace, digest=None):
    return (digest or Digest("0.1.0")).state(survey(namespace, seconds=10))


def shape(value):
    """Keys and types of a JSON value; a list stands for its first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def same_fields(sent, agreed):
    """Every field of the agreed message is sent with its type, and no other; facts and rows are free."""
    if "NoneType" in (agreed, sent):
        return
    if isinstance(agreed, dict):
        assert set(sent) == set(agreed)
        for key in agreed:
            if key not in ("facts", "rows"):
                same_fields(sent[key], agreed[key])
    elif isinstance(agreed, list):
        if agreed and sent:
            same_fields(sent[0], agreed[0])
    else:
        assert sent == agreed


def test_state_has_the_fields_that_the_front_end_reads():
    net = small()
    compression = jlab_compress.compress(net, 8, calibration=torch.randn(60, 4), progress=False)
    namespace = {
        "net": net,
        "net_slim": compression.model,
        "net_compression": compression,
        "net_widths": {"0": 8},
        "x_train": torch.ones(6, 4),
        "batches": [(torch.ones(2, 4), torch.ones(2))],
    }
    search_blocks(net)
    sent = json.loads(json.dumps(state_of(namespace)))
    same_fields(shape(sent), shape(FIXTURE["state"]))
    assert [model["name"] for model in sent["models"]] == ["net", "net_slim"]
    assert sent["models"][0]["blocks"][0]["width"] == 32
    (row,) = sent["models"][1]["slim"]
    assert (row["name"], row["width_before"], row["width_after"]) == ("0", 32, 8)
    assert sent["results"][0]["model"] == "net_slim"


class Picky(nn.Module):
    """Runs on rows of ones only, so on nothing that is made up."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(4, 32), nn.Linear(32, 2)

    def forward(self, x):
        if not torch.equal(x, torch.ones_like(x)):
            raise ValueError("only ones")
        return self.narrow(torch.relu(self.wide(x)))


def test_a_block_says_whether_it_waits_for_real_inputs_and_what_its_width_counts():
    net = Picky()
    (model,) = state_of({"net": net, "net_blocks": jlab_compress.find_blocks(net)})["models"]
    assert [(row["unit"], row["needs_input"]) for row in model["blocks"] if row["name"] == "wide"] == [
        ("neurons", True)
    ]
    found = jlab_compress.find_blocks(net, torch.ones(6, 4))
    (model,) = state_of({"net": net, "net_blocks": found})["models"]
    assert [row["needs_input"] for row in model["blocks"] if row["name"] == "wide"] == [False]
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    (model,) = state_of({"layer": layer, "layer_blocks": jlab_compress.find_blocks(layer)})["models"]
    assert {row["name"]: row["unit"] for row in model["blocks"]} == {
        "self_attn": "heads",
        "linear1": "neurons",
    }


def test_a_chart_has_the_fields_that_the_front_end_draws():
    (sweep, *_) = FIXTURE["state"]["results"]
    chart = Chart("width", ("function_error",), by="block", log=True)
    table = Table("t", ("block", "width", "function_error"), (("0", 16, 0.2),), chart)
    sent = json.loads(Report("Sweep", tables=(table,)).to_json())
    same_fields(shape(sent), shape(sweep["report"]))
    assert sent["tables"][0]["chart"] == sweep["report"]["tables"][0]["chart"]


def test_the_comparison_of_fields_can_fail():
    with pytest.raises(AssertionError, match="assert"):
        same_fields({"a": "number"}, {"a": "number", "b": "str"})
    with pytest.raises(AssertionError, match="assert"):
        same_fields({"a": "str"}, {"a": "number"})


def test_never_runs_what_an_object_brings_along():
    class Trap(nn.Linear):
        def __repr__(self):
            raise AssertionError("repr was called")

        __str__ = __len__ = __eq__ = extra_repr = __repr__
        __hash__ = nn.Module.__hash__

    class Meta(type):
        @property
        def __name__(cls):
            raise AssertionError("a metaclass ran")

    class Other(metaclass=Meta):
        def __getattribute__(self, name):
            raise AssertionError("an attribute was read")

    state = state_of({"net": Trap(3, 2), "other": Other()})
    assert [model["class"] for model in state["models"]] == ["Trap"]


def test_leaves_out_what_is_hidden_and_what_is_no_name():
    net = small()
    names = ["_net", "__net", "In", "Out", "not a name", 'x"; y', "net"]
    assert [m["name"] for m in state_of(dict.fromkeys(names, net))["models"]] == ["net"]
    assert state_of({5: net})["models"] == []


def test_models_values_and_losses_are_told_apart():
    loader = torch.utils.data.DataLoader([1, 2])
    namespace = {
        "net": small(),
        "relu": nn.ReLU(),
        "loss": nn.CrossEntropyLoss(),
        "x": torch.ones(2, 3),
        "pair": (torch.ones(2), torch.ones(2)),
        "inputs": {"ids": torch.ones(2)},
        "loader": loader,
        "text": "x",
        "numbers": [1, 2],
        "step": lambda: None,
    }
    state = state_of(namespace)
    assert [m["name"] for m in state["models"]] == ["net"]
    assert {v["name"]: v["kind"] for v in state["values"]} == {
        "loss": "loss",
        "x": "tensor",
        "pair": "tuple",
        "inputs": "mapping",
        "loader": "batches",
        "step": "function",
    }


def test_lazy_scripted_and_shared_parts_are_read():
    shared = nn.Linear(3, 3)
    state = state_of(
        {
            "lazy": nn.LazyLinear(3),
            "twice": nn.Sequential(shared, shared),
            "scripted": torch.jit.script(nn.Linear(2, 2)),
        }
    )
    found = {m["name"]: m for m in state["models"]}
    assert found["lazy"]["lazy"]
    assert found["twice"]["parameters"] == 12


def test_the_hash_says_whether_anything_changed():
    net = small()
    before, again = state_of({"net": net}), state_of({"net": net})
    assert before["hash"] == again["hash"]
    with torch.no_grad():
        net[0].weight += 1
    assert state_of({"net": net})["hash"] == before["hash"]
    net.eval()
    assert state_of({"net": net})["hash"] != before["hash"]


def test_the_key_follows_set_and_shape_but_not_weights():
    net = small()
    key = survey({"net": net}).key
    with torch.no_grad():
        net[0].weight.zero_()
    assert survey({"net": net}).key == key
    assert survey({"net": small()}).key != key
    net[2] = nn.Linear(32, 3)
    assert survey({"net": net}).key != key


def test_blocks_are_told_once_somebody_has_asked_for_them():
    net = small()
    assert state_of({"net": net})["models"][0]["blocks"] is None
    search_blocks(net)
    assert state_of({"net": net})["models"][0]["blocks"][0]["polylog"] == 25
    net[0], net[2] = nn.Linear(4, 16), nn.Linear(16, 2)
    assert state_of({"net": net})["models"][0]["blocks"] is None


def test_a_forward_that_fails_is_a_locked_row():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def __deepcopy__(self, memo):
            raise ZeroDivisionError("no copies <b>please</b>")

    (row,) = block_rows(search_blocks(Broken()))
    assert "could not be read" in row["locked"]


def test_a_long_name_is_cut_and_locked():
    net = nn.Sequential()
    net.add_module("x" * 2000, nn.Linear(4, 32))
    net.add_module("relu", nn.ReLU())
    net.add_module("out", nn.Linear(32, 2))
    (row,) = block_rows(search_blocks(net))
    assert len(row["name"]) == TEXT_CAP
    assert "rename the layer" in row["locked"]


def test_a_long_report_is_cut_and_says_so():
    table = Table("many", ("a",), tuple(("y" * 100,) for _ in range(REPORT_CAP // 100)))
    made = Compression(small(), Plan(()), Report("Compression", tables=(table,)))
    (result,) = state_of({"made": made})["results"]
    assert result["report"]["tables"] == []
    assert "too long for the panel" in result["report"]["notes"][-1]


def test_caps_on_rows_and_time():
    many = {f"x{i}": torch.ones(1) for i in range(ROW_CAP + 10)}
    found = survey(many, seconds=60)
    assert len(found.values) == ROW_CAP
    assert not found.complete
    assert not survey(many, seconds=0).complete


def test_a_namespace_that_changes_while_it_is_read():
    class Restless(dict):
        tries = 0

        def items(self):
            self.tries += 1
            if self.tries < 3:
                raise RuntimeError("dictionary changed size during iteration")
            return super().items()

    assert len(survey(Restless(net=small())).models) == 1


def test_a_model_of_2000_layers_is_read_whole():
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(2000)))
    structure = survey({"net": net}, seconds=10).models[0][2]
    assert (structure.parameters, structure.modules) == (2000 * 6, 2001)


def test_a_large_model_takes_the_blocks_that_a_cell_has_found():
    stages = nn.Sequential(*(small() for _ in range(60)))
    state = state_of({"net": stages})
    assert state["models"][0]["heavy"]
    assert state["models"][0]["blocks"] is None
    row = jlab_compress.Block("7.0", "mlp", (), 32, 7, 224, None)
    state = state_of({"net": stages, "net_blocks": Blocks((row,))})
    assert [block["name"] for block in state["models"][0]["blocks"]] == ["7.0"]
    assert state["results"] == []
    stranger = Blocks((jlab_compress.Block("gone", "mlp", (), 32, 7, 224, None),))
    assert state_of({"net": stages, "net_blocks": stranger})["models"][0]["blocks"] is None


@pytest.mark.parametrize("widths", [{"0": 33}, {"0": 0}, {"gone": 4}, {"0": True}, {"0": "8"}, {}, [8]])
def test_widths_that_are_not_of_this_model_are_not_told(widths):
    digest, net = Digest("0.1.0"), small()
    search_blocks(net)
    assert state_of({"net": net, "net_widths": {"0": 32}}, digest)["models"][0]["widths"] == {"0": 32}
    assert state_of({"net": net, "net_widths": widths}, digest)["models"][0]["widths"] is None
    assert state_of({"net": net, "other_widths": {"0": 32}}, digest)["models"][0]["widths"] is None


def test_other_widths_are_news():
    net = small()
    keys = {survey({"net": net, "net_widths": {"0": width}}).key for width in (4, 5, 5)}
    assert len(keys) == 2


def test_the_newest_result_is_last_whatever_its_name_had_before():
    def made(title):
        return Compression(small(), Plan(()), Report(title))

    def told(namespace):
        return [result["report"]["title"] for result in state_of(namespace, digest)["results"]]

    digest, first = Digest("0.1.0"), made("first")
    namespace = {"a": first, "b": made("second")}
    assert told(namespace) == ["first", "second"]
    namespace["a"] = made("third")
    assert list(namespace) == ["a", "b"]
    assert told(namespace) == ["second", "third"]
    assert told(namespace) == ["second", "third"]


@pytest.mark.parametrize("name", [5, None, ["0"]])
def test_a_plan_of_somebody_else_hides_no_model(name):
    net = small()
    attach_plan(net, Plan((BlockPlan(name, "mlp", (), 32, 8, "pruned", "weighted"),)))
    state = state_of({"net": net, "other": small()})
    assert [(row["name"], row["slim"]) for row in state["models"]] == [("net", None), ("other", None)]


def test_blocks_and_reports_of_somebody_else_hide_no_other_result():
    class Odd(Reported):
        kind = "sweep"

        @property
        def report(self):
            raise ZeroDivisionError("no report today")

    good = Compression.__new__(Compression)
    object.__setattr__(good, "report", Report("Good"))
    object.__setattr__(good, "model", None)
    state = state_of({"odd": Odd(), "good": good, "net": small()})
    assert [row["name"] for row in state["results"]] == ["good"]
    assert state["complete"] is False


def test_a_name_that_cannot_be_sent_is_sent_as_far_as_it_can():
    net = nn.Sequential()
    net.add_module("\ud800", small())
    blocks = state_of({"net": net, "net_blocks": search_blocks(net)})["models"][0]["blocks"]
    json.dumps(blocks, ensure_ascii=False).encode()
    assert blocks[0]["name"] == "?.0"


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_a_wrapped_slim_model_is_known_as_one(wrap):
    net = small()
    attach_plan(net, Plan((BlockPlan("0", "mlp", (), 32, 8, "pruned", "weighted"),)))
    state = state_of({"net": wrap(net)})
    assert state["models"][0]["slim"][0]["width_after"] == 8
