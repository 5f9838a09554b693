"""Models, data, random states, files and this process are what they were, after any call and any fault."""

import copy
import logging
import os
import random
import signal
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.faults import CALLS, WRITING, Session, faults, session_in
from tests.fingerprint import differences
from tests.quick import same, tensors

FEW = {"validate": 4, "export_onnx": 3, "export_program": 3, "export_repository": 3}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One session for all: a test that changed it would make the next ones fail."""
    with session_in(tmp_path_factory.mktemp("session")) as made:
        yield made


@pytest.mark.parametrize("name", [*CALLS, *WRITING])
def test_a_call_changes_nothing(session, name):
    call = {**CALLS, **WRITING}[name]
    call(session)
    session.emptied()
    before = session.state()
    call(session)
    assert bool(list(session.target.iterdir())) == (name in WRITING)
    assert session.half() == []
    session.emptied()
    assert differences(before, session.state()) == []


@pytest.mark.parametrize("name", [name for name in [*CALLS, *WRITING] if name != "compress plain"])
def test_a_fault_changes_nothing(session, name):
    call = {**CALLS, **WRITING}[name]
    drawn = faults(call, session, FEW.get(name, 12))
    for fault in drawn:
        before = session.state()
        outcome = fault.during(call, session)
        assert session.half() == [], f"{fault.site}: {outcome}"
        session.emptied()
        assert differences(before, session.state()) == [], f"{fault.site}: {outcome}"
        if not isinstance(fault.error, RuntimeError) or isinstance(fault.error, torch.OutOfMemoryError):
            assert outcome in ("raised", "not reached"), fault.site


def test_after_faults_what_was_prepared_gives_the_same_bits(session):
    call = CALLS["compress what was prepared"]
    expected = tensors(call(session).model)
    for fault in faults(call, session, 12, seed=1):
        fault.during(call, session)
    assert same(tensors(call(session).model), expected)


CHANGES: dict[str, Callable[[Session], Any]] = {
    "weight": lambda s: s.net.body[0].load_state_dict(s.net.body[0].state_dict()),
    "one bit": lambda s: s.net.body[0].weight.data.view(-1)[0].nextafter_(torch.tensor(9.0)),
    "buffer": lambda s: s.net.offset.mul_(1.0),
    "replaced": lambda s: setattr(s.net.body, "0", nn.Linear(5, 12)),
    "flag": lambda s: s.net.body[2].train(),
    "frozen": lambda s: s.net.body[0].weight.requires_grad_(False),
    "gradient": lambda s: setattr(s.net.body[0].weight, "grad", torch.ones(12, 5)),
    "hook": lambda s: s.net.body[1].register_forward_pre_hook(lambda *_: None),
    "attribute": lambda s: setattr(s.net, "note", 1),
    "data": lambda s: s.rows.add_(1.0),
    "torch random": lambda s: torch.rand(1),
    "numpy random": lambda s: np.random.rand(),
    "python random": lambda s: random.random(),
    "slim": lambda s: s.slim.eval(),
    "file": lambda s: (s.kept / "left.tmp").write_text(""),
    "temporary file": lambda s: Path(tempfile.gettempdir(), "left.tmp").write_text(""),
}
# What changes this process, and what takes it back.
PROCESS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "no gradients": (lambda: torch.set_grad_enabled(False), lambda: torch.set_grad_enabled(True)),
    "default dtype": (
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "autocast": (
        lambda: torch.set_autocast_enabled("cpu", True),
        lambda: torch.set_autocast_enabled("cpu", False),
    ),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
    "warnings": (lambda: warnings.simplefilter("ignore"), lambda: warnings.filters.pop(0)),
    "logging": (lambda: logging.disable(logging.CRITICAL), lambda: logging.disable(logging.NOTSET)),
    "variable": (lambda: os.environ.update(LEFT="1"), lambda: os.environ.pop("LEFT")),
    "interrupts": (
        lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_comparison_notices_every_kind_of_change(session, name):
    changed = copy.deepcopy(session)
    before = changed.state()
    assert differences(before, changed.state()) == []
    CHANGES[name](changed)
    assert differences(before, changed.state()) != []
    for folder in (session.kept, Path(tempfile.gettempdir())):
        (folder / "left.tmp").unlink(missing_ok=True)


@pytest.mark.parametrize("name", PROCESS)
def test_the_comparison_notices_what_changes_the_process(session, name):
    before = session.state()
    change, undo = PROCESS[name]
    change()
    try:
        assert differences(before, session.state()) != []
    finally:
        undo()


def test_the_comparison_notices_a_thread_and_a_process(session):
    before, go_on = session.state(), threading.Event()
    thread = threading.Thread(target=go_on.wait)
    process = subprocess.Popen(["sleep", "60"])
    thread.start()
    try:
        found = differences(before, session.state())
        assert any("threads" in each for each in found)
        assert any("processes" in each for each in found)
    finally:
        go_on.set()
        thread.join()
        process.kill()
        process.wait()
