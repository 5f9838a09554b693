"""The channel: pushes what changed, answers what is asked, runs nothing that arrives."""

import json
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from jlab_compress.notebook.kernel import channel as room
from jlab_compress.notebook.kernel.channel import (
    DEPTH_CAP,
    MESSAGE_CAP,
    OPEN_CAP,
    TARGET,
    check_size,
    register,
    unregister,
)

REQUESTS = json.loads(
    (Path(__file__).parents[3] / "labextension" / "fixtures" / "messages.json").read_text("utf-8")
)["requests"]


class FakeComm:
    def __init__(self, comm_id="1"):
        self.comm_id = comm_id
        self.sent = []

    def send(self, data):
        self.sent.append(json.loads(json.dumps(data)))

    def on_msg(self, callback):
        self.ask = lambda data: callback({"content": {"data": data}})

    def on_close(self, callback):
        self.close = lambda: callback({})


class FakeManager:
    def __init__(self):
        self.targets = {}

    def register_target(self, name, opened):
        self.targets[name] = opened

    def unregister_target(self, name, opened):
        del self.targets[name]


class FakeKernel:
    def __init__(self):
        self.comm_manager = FakeManager()


@pytest.fixture
def shell():
    shell = InteractiveShell()
    shell.kernel = FakeKernel()
    yield shell
    unregister(shell)
    shell.history_manager.end_session()


def listen(shell, comm_id="1"):
    register(shell)
    comm = FakeComm(comm_id)
    shell.kernel.comm_manager.targets[TARGET](comm, {})
    return comm


def nested(depth):
    made = []
    for _ in range(depth):
        made = [made]
    return made


def net():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


def test_registers_once_and_takes_everything_back(shell):
    hooks = shell.events.callbacks
    before = {name: list(found) for name, found in hooks.items()}
    names = set(shell.user_ns)
    channel = register(shell)
    assert register(shell) is channel
    assert len(hooks["post_run_cell"]) == len(before["post_run_cell"]) + 1
    assert set(shell.user_ns) == names
    assert channel._repr_mimebundle_()["application/json"]["protocol"] == 1
    unregister(shell)
    unregister(shell)
    assert {name: list(found) for name, found in hooks.items()} == before
    assert shell.kernel.comm_manager.targets == {}


def test_without_a_kernel_cells_run_and_nobody_is_told(plain_shell):
    before = {name: list(found) for name, found in plain_shell.events.callbacks.items()}
    channel = register(plain_shell)
    assert plain_shell.run_cell("x = 1").success
    assert channel.comms == {}
    assert channel.told is None
    unregister(plain_shell)
    assert {name: list(found) for name, found in plain_shell.events.callbacks.items()} == before


def test_sends_the_state_on_opening_and_after_cells_that_changed_it(shell):
    shell.user_ns["net"] = net()
    comm = listen(shell)
    assert [m["name"] for m in comm.sent[-1]["models"]] == ["net"]
    shell.run_cell("a = 5")
    assert len(comm.sent) == 1
    shell.run_cell("net = net.eval()")
    assert len(comm.sent) == 2
    shell.run_cell("del net")
    assert comm.sent[-1]["models"] == []


def test_the_hook_is_idle_without_a_listener(shell, monkeypatch):
    comm = listen(shell)
    comm.close()
    monkeypatch.setattr(room, "survey", lambda *_: pytest.fail("the hook looked"))
    shell.user_ns["net"] = net()
    result = shell.run_cell("b = 1")
    assert result.success
    assert len(comm.sent) == 1


def test_a_page_that_comes_again_replaces_itself_and_dead_pages_are_forgotten(shell):
    first = listen(shell)
    again = listen(shell)
    channel = register(shell)
    assert list(channel.comms.values()) == [again]
    for index in range(OPEN_CAP + 3):
        listen(shell, f"page {index}")
    assert len(channel.comms) == OPEN_CAP
    assert first not in channel.comms.values()


def test_a_fault_in_the_hook_stays_out_of_the_cell(shell, monkeypatch, capsys):
    listen(shell)

    def broken(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr(room, "survey", broken)
    assert shell.run_cell("c = 1").success
    assert "boom" not in capsys.readouterr().out


@pytest.mark.parametrize("request_", REQUESTS["accepted"], ids=str)
def test_answers_the_requests_of_the_fixture(shell, request_):
    shell.user_ns["net"] = net()
    comm = listen(shell)
    comm.ask(request_)
    assert comm.sent[-1]["type"] in ("state", "blocks")
    assert comm.sent[-1]["request"] == request_["request"]


@pytest.mark.parametrize("request_", REQUESTS["refused"], ids=str)
def test_answers_what_is_malformed_with_an_error_and_runs_nothing(shell, request_):
    shell.user_ns["net"] = net()
    comm = listen(shell)
    names = dict(shell.user_ns)
    comm.ask(request_)
    assert comm.sent[-1]["type"] == "error"
    assert comm.sent[-1]["message"]
    assert shell.user_ns == names
    comm.ask({"op": "state", "request": 99})
    assert comm.sent[-1]["request"] == 99


def test_refuses_what_is_too_long_without_reading_all_of_it(shell):
    comm = listen(shell)
    comm.ask({"op": "blocks", "request": 1, "model": "x" * (MESSAGE_CAP + 1)})
    assert "characters" in comm.sent[-1]["message"]
    with pytest.raises(ValueError, match=f"{MESSAGE_CAP:,} characters"):
        check_size(["x"] * 30_000)
    check_size({"a": nested(DEPTH_CAP - 1)})
    with pytest.raises(ValueError, match=f"and {DEPTH_CAP} values in one another"):
        check_size({"a": nested(DEPTH_CAP)})
    comm.ask({"op": "blocks", "request": 1, "model": nested(100_000)})
    assert "values in one another" in comm.sent[-1]["message"]


@pytest.mark.parametrize(
    "envelope",
    [
        {},
        None,
        [],
        "text",
        5,
        {"content": None},
        {"content": []},
        {"content": {"data": None}},
        {"content": {}},
    ],
    ids=str,
)
def test_an_envelope_of_another_form_is_answered_with_an_error(shell, envelope):
    comm = listen(shell)
    register(shell).asked(comm, envelope)
    assert (comm.sent[-1]["type"], comm.sent[-1]["request"]) == ("error", None)
    assert "a request must be a mapping with 'op'" in comm.sent[-1]["message"]


def test_progress_of_a_cell_is_read_off_its_bars_and_ends(shell, monkeypatch):
    from jlab_compress.notebook.kernel import tqdm_watch as progress

    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    monkeypatch.setattr(progress.Watch.__init__, "__kwdefaults__", {"interval": 0.01})
    comm = listen(shell)
    assert shell.run_cell(
        "from tqdm import tqdm\nimport time, io\n"
        "for _ in tqdm(range(20), desc='0.fc', file=io.StringIO()): time.sleep(0.01)"
    ).success
    told = [message for message in comm.sent if message["type"] == "progress"]
    assert {message["label"] for message in told[:-1]} == {"0.fc"}
    assert told[0]["total"] == 20
    assert told[-1]["done"] == told[-1]["total"]


def test_an_interrupted_cell_leaves_no_watch_behind(shell):
    listen(shell)
    shell.run_cell("raise KeyboardInterrupt")
    assert register(shell).watch is None


def test_a_large_model_is_not_run_unasked(shell):
    shell.user_ns["big"] = nn.Sequential(*(net() for _ in range(60)))
    comm = listen(shell)
    comm.ask({"op": "blocks", "request": 1, "model": "big"})
    assert comm.sent[-1]["type"] == "error"
    assert "big_blocks = find_blocks" in comm.sent[-1]["message"]
