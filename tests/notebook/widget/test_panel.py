"""The in-cell panel: the same messages, commands by name only, a still picture for those who run nothing."""

import json
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

from jlab_compress.notebook.actions import ACTIONS
from jlab_compress.notebook.widget import panel as room
from jlab_compress.notebook.widget.panel import Panel, panel

FIXTURES = Path(__file__).parents[3] / "labextension" / "fixtures"
COMMANDS = json.loads((FIXTURES / "commands.json").read_text("utf-8"))


@pytest.fixture
def built(monkeypatch, tmp_path):
    """A front end that is there, whether or not it was built."""
    (tmp_path / "panel.js").write_text("export default {}")
    monkeypatch.setattr(room, "STATIC", tmp_path)


def net(width=64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


def opened(**data) -> Panel:
    made = panel(net(), calibration=torch.randn(120, 6), **data)
    made.told = []
    made.send = lambda content, buffers=None: made.told.append(content)
    return made


def ask(made: Panel, content):
    made._asked(made, content, [])


def press(made: Panel, name, **fields):
    ask(made, {"op": name, "model": "model", "fields": fields})


def compress(made: Panel, **fields):
    usual = {"model": "model", "widths": {"0": 8}, "calibration": "calibration", "preserve": "function"}
    press(made, "run", **{**usual, "effort": "quick", **fields})


def test_the_front_end_is_looked_for_where_the_package_carries_it():
    root = Path(__file__).parents[3]
    targets = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["hooks"]
    assert str((room.STATIC / "panel.js").relative_to(root)) in targets["jupyter-builder"]["ensured-targets"]


@pytest.mark.usefixtures("built")
class TestPanel:
    def test_shows_the_model_and_its_values(self):
        made = opened()
        assert [m["name"] for m in made.state["models"]] == ["model"]
        assert made.state["models"][0]["blocks"][0]["width"] == 64
        assert [v["name"] for v in made.state["values"]] == ["calibration"]

    def test_goes_through_the_flow(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        batches = [(torch.randn(20, 6), torch.randint(0, 3, (20,))) for _ in range(4)]
        made = opened(batches=batches)
        compress(made)
        assert made.failure == ""
        assert made.slim is made.results["model_slim"]
        assert {message["type"] for message in made.told} == {"progress"}
        train = {"batches": "batches", "loss_fn": "cross_entropy", "optimizer": "SGD", "rate": 0.05}
        press(made, "validate", original="model", slim="model_slim", steps=4, **train)
        assert made.failure == ""
        assert [r["kind"] for r in made.state["results"]] == ["compression", "validation"]
        press(made, "export", slim="model_slim", path="slim.onnx", example_inputs="calibration")
        assert made.failure == ""
        assert (tmp_path / "slim.onnx").is_file()
        assert made.running == ""

    @pytest.mark.parametrize("one", COMMANDS["accepted"][1:], ids=lambda one: one["command"]["op"])
    def test_takes_what_the_front_end_sends(self, one, noted):
        values = {"x": torch.ones(9, 6), "y": torch.ones(9), "net": net(), "net_slim": net(8)}
        made = panel(**values)
        ask(made, one["command"])
        assert made.failure == ""
        assert set(made.results) >= {f"net_{ACTIONS[one['command']['op']].makes}"}

    def test_finds_the_blocks_of_a_model_by_a_button(self):
        made = panel(x=torch.ones(9, 6), net=net())
        ask(made, COMMANDS["accepted"][0]["command"])
        assert made.failure == ""
        assert made.state["models"][0]["blocks"][0]["width"] == 64
        assert made.results["net_blocks"].kind == "blocks"

    @pytest.mark.parametrize("content", COMMANDS["refused"], ids=str)
    def test_answers_what_is_malformed_with_an_error(self, content, noted):
        made = panel(x=torch.ones(9, 6), net=net())
        told = []
        made.send = lambda content, buffers=None: told.append(content)
        ask(made, content)
        assert told[-1]["type"] == "error"
        assert made.results == {}

    def test_a_missing_package_is_told(self, monkeypatch):
        def missing(*_):
            raise ImportError('onnx is needed for exports to ONNX: pip install "jlab-compress[onnx]"')

        made = opened()
        monkeypatch.setattr(room, "check_fields", missing)
        press(made, "export", slim="model", path="a.onnx", example_inputs="calibration")
        assert made.told[-1]["message"].endswith('pip install "jlab-compress[onnx]"')

    def test_refuses_what_is_too_long(self):
        made = opened()
        ask(made, {"op": "blocks", "model": "x" * 30_000})
        assert "may hold 20,000 characters" in made.told[-1]["message"]

    @pytest.mark.parametrize("depth", [30, 5000])
    def test_refuses_what_is_too_deep(self, depth):
        made = opened()
        value: list = []
        for _ in range(depth):
            value = [value]
        for step, field in (("run", "preserve"), ("export", "path"), ("allocate", "blocks")):
            press(made, step, model="model", slim="model", calibration="calibration", **{field: value})
            assert "20 values in one another" in made.told[-1]["message"]

    @pytest.mark.parametrize(
        "envelope",
        [
            None,
            {},
            {"content": None},
            {"content": {"data": []}},
            {"content": {"data": {"method": "custom"}}, "buffers": []},
            {"content": {"data": {"method": "update", "state": 5}}, "buffers": []},
            {"content": {"data": {"method": "update", "state": {"plans": 5}}}, "buffers": []},
            {"content": {"data": {"method": "update", "state": {"state": {}}}}, "buffers": []},
            {"content": {"data": {"method": ["update"]}}, "buffers": []},
        ],
        ids=str,
    )
    def test_an_envelope_of_another_form_is_answered_with_an_error(self, envelope):
        made = opened()
        before = dict(made.state)
        made._handle_msg(envelope)
        assert "a request" in made.told[-1]["message"] or "'op' must be" in made.told[-1]["message"]
        assert made.state == before

    def test_a_page_keeps_its_plans_and_asks_by_custom_messages(self):
        made = opened()
        plans = [{"name": "mine", "model": "model", "widths": {"0": 8}}]
        data = {"method": "update", "state": {"plans": plans}, "buffer_paths": []}
        made._handle_msg({"content": {"data": data}, "buffers": []})
        assert made.plans == plans
        data = {"method": "custom", "content": {"op": "nothing"}}
        made._handle_msg({"content": {"data": data}, "buffers": []})
        assert "'op' must be one of" in made.told[-1]["message"]

    @pytest.mark.parametrize("name", ["_hidden", "__builtins__", "In", "_"])
    def test_hidden_names_are_not_meant(self, name, shell, monkeypatch):
        called = []
        shell.user_ns.update({name: lambda *_: called.append(1), "net": net(), "x": torch.ones(60, 6)})
        monkeypatch.setattr(room, "get_ipython", lambda: shell)
        made = panel()
        train = {"batches": "x, x", "optimizer": "SGD", "rate": 0.1, "steps": 2}
        press(made, "validate", original="net", slim="net", loss_fn=name, **train)
        assert "loss: the panel knows no loss named" in made.failure
        press(made, "run", model="net", widths={"0": 8}, calibration=name)
        assert "knows no data named" in made.failure
        press(made, "run", model=name, widths={"0": 8}, calibration="x")
        assert "knows no model named" in made.failure
        assert called == []

    def test_shares_a_budget_out(self):
        made = opened()
        fields = {"model": "model", "calibration": "calibration", "blocks": ["0"], "effort": "quick"}
        press(made, "allocate", parameters=0.25, **fields)
        assert made.failure == ""
        assert 1 <= made.state["models"][0]["widths"]["0"] <= 16
        press(made, "allocate", parameters=4, **fields)
        assert "between 0 and 1" in made.failure

    def test_a_fault_is_shown_and_nothing_is_kept(self):
        made = opened()
        compress(made, widths={"0": 6500})
        assert "has 64 neurons" in made.failure
        assert made.results == {}
        assert made.running == ""

    def test_an_interrupt_is_shown_and_leaves_the_model(self, monkeypatch):
        made = opened()
        before = {k: v.clone() for k, v in made.values()["model"].state_dict().items()}

        def stopped(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(room, "results_of", stopped)
        compress(made)
        assert made.failure.startswith("Stopped")
        after = made.values()["model"].state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)

    @pytest.mark.parametrize("stop", ["0", "2"])
    def test_what_a_stopped_compression_had_made_is_kept_and_is_a_model_of_the_panel(self, stop):
        deep = nn.Sequential(*net(), nn.ReLU(), nn.Linear(3, 2))
        made = panel(deep, calibration=torch.randn(120, 6))

        def told(content, buffers=None):
            if content["label"] == stop:
                raise KeyboardInterrupt

        made.send = told
        compress(made, widths={"0": 8, "2": 2})
        if stop == "0":
            assert made.failure == "Stopped; the original is as it was. Nothing was made."
            assert made.results == {}
        else:
            assert made.failure.startswith("Stopped at 50 %: 1 of 2 blocks are slim. ")
            assert made.failure.endswith("kept as model_stopped_slim; the original is as it was.")
            assert (made.slim[0].out_features, made.slim[2].out_features) == (8, 3)
            assert "model_stopped_slim" in [m["name"] for m in made.state["models"]]

    @pytest.mark.parametrize("path", ["../x.onnx", "/x.onnx", "a/b.onnx", "a\\b.onnx", "", ".", "..", 5])
    def test_writes_only_beside_the_notebook(self, path):
        made = opened()
        for step, place in (("export", "path"), ("serve", "directory")):
            press(made, step, slim="model", example_inputs="calibration", **{place: path})
            assert "expected a name without folders" in made.failure

    @pytest.mark.parametrize("name", ["__import__('os')", "model.weight", "none", "", None, ["model"]])
    def test_names_are_looked_up_and_never_evaluated(self, name):
        made = opened()
        compress(made, model=name)
        assert "knows no model" in made.failure
        compress(made, calibration=name)
        assert "knows no data" in made.failure

    def test_follows_the_options_of_the_magic(self, shell, monkeypatch):
        assert opened().defaults == {}
        shell.run_line_magic("config", "Compress.width = 'polylog'")
        shell.run_line_magic("config", "Compress.tolerance = 0.05")
        monkeypatch.setattr(room, "get_ipython", lambda: shell)
        assert opened().defaults == {"width": "polylog", "steps": 200, "target": "onnx", "tolerance": 5}

    def test_without_a_model_it_offers_what_the_notebook_has(self):
        assert panel().state["models"] == []

    def test_a_still_picture_for_those_who_run_no_widgets(self):
        content, _ = opened()._repr_mimebundle_()
        assert "<table" in content["text/html"]
        assert "data:image/svg+xml" in content["text/html"]
        assert "<script" not in content["text/html"]
        assert "64" in content["text/plain"]


def test_refuses_what_is_no_model():
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got int"):
        panel(5)


def test_says_when_the_front_end_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "STATIC", tmp_path)
    with pytest.raises(FileNotFoundError, match="front end is not built"):
        panel(net())
