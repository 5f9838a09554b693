"""Models, data and random states are bit for bit what they were, after any call and any interrupt."""

import copy
import random
import sys
from collections.abc import Callable, Iterator
from inspect import CO_GENERATOR
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.fitting.aims import short_training
from tests.quick import FAST

WATCHED = (str(Path(jlab_compress.__file__).parent), __file__)


class Net(nn.Module):
    """Two blocks, a buffer, dropout, mixed train/eval flags, one frozen layer, a hook and gradients."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.body = nn.Sequential(
                nn.Linear(5, 12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 3)
            )
        self.register_buffer("offset", torch.tensor([1.0, 2.0, 3.0]))
        self.body[5].weight.requires_grad_(False)
        self.body[2].eval()
        self.body[0].register_forward_hook(lambda *_: None)
        self.body[0].weight.grad = torch.full((12, 5), 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.offset


class Session:
    """A model, data and a slim model, as a notebook holds them."""

    def __init__(self, folder: Path, fingerprint: Callable[..., list[Any]]) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.net = Net()
        generator = torch.Generator().manual_seed(1)
        self.rows = torch.randn(24, 5, generator=generator)
        targets = torch.randint(3, (24,), generator=generator)
        self.batches = [(self.rows[i : i + 8], targets[i : i + 8]) for i in (0, 8, 16)]
        self.slim = jlab_compress.compress(
            self.net, 4, calibration=self.rows, effort=FAST, progress=False
        ).model
        jlab_compress.save(self.slim, folder / "kept.safetensors")

    def state(self) -> list[Any]:
        """All that must stay: both models, the data, torch's settings and the files."""
        data = [self.rows, *(tensor for pair in self.batches for tensor in pair)]
        return [self.fingerprint(self.net, self.slim, *data), sorted(map(str, self.folder.rglob("*")))]


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, targets)


def optimizer(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def compress(s: Session, **options: Any) -> Any:
    return jlab_compress.compress(s.net, 4, calibration=s.rows, effort=FAST, progress=False, **options)


def validate(s: Session) -> Any:
    return jlab_compress.validate(
        s.net, s.slim, s.batches, loss, optimizer=optimizer, steps=3, held_out=s.batches[0], progress=False
    )


def transfer(s: Session) -> Any:
    return jlab_compress.transfer_optimizer(optimizer(s.net.parameters()), s.net, s.slim)


CALLS: dict[str, Callable[[Session], Any]] = {
    "find_blocks": lambda s: jlab_compress.find_blocks(s.net),
    "find_blocks with inputs": lambda s: jlab_compress.find_blocks(s.net, s.rows),
    "compress for dynamics": compress,
    "compress for the function": lambda s: compress(s, preserve="function"),
    "compress plain": lambda s: compress(s, plain=True),
    "validate": validate,
    "fold": lambda s: jlab_compress.fold(s.slim),
    "load": lambda s: jlab_compress.load(s.folder / "kept.safetensors", s.net),
    "transfer_optimizer": transfer,
}
WRITING: dict[str, Callable[[Session, Path], Any]] = {
    "save": lambda s, to: jlab_compress.save(s.slim, to / "slim.safetensors"),
    "export_onnx": lambda s, to: jlab_compress.export_onnx(s.slim, to / "slim.onnx", s.rows),
    "export_repository": lambda s, to: jlab_compress.export_repository(s.slim, to, "digits", s.rows),
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, fingerprint: Any) -> Iterator[Session]:
    """One session for all: a test that changed it would make the next ones fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(short_training.train_on, "__defaults__", (4,))
        yield Session(tmp_path_factory.mktemp("kept"), fingerprint)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


class Interrupt:
    """Counts the calls of functions of the package, the model and the user; raises at the k-th.

    Generators are left out: one that is being collected swallows what is raised in it.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at, self.seen = at, 0

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(WATCHED) and not code.co_flags & CO_GENERATOR:
            self.seen += 1
            if self.seen == self.at:
                raise KeyboardInterrupt


def traced(interrupt: Interrupt, call: Callable[[], Any]) -> None:
    sys.settrace(interrupt)
    try:
        call()
    finally:
        sys.settrace(None)


def points(total: int, n: int) -> list[int]:
    """The first call, the last call and others in between, n in all."""
    return sorted({max(1, round(total * i / (n - 1))) for i in range(n)})


def emptied(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def assert_interrupts_leave_no_trace(
    session: Session, target: Path, call: Callable[[], Any], n: int = 8
) -> None:
    call()  # what is imported now is not imported, and not counted, below
    emptied(target)
    before = session.state()
    counter = Interrupt()
    traced(counter, call)
    emptied(target)
    for at in points(counter.seen, n):
        interrupt = Interrupt(at)
        try:
            traced(interrupt, call)
        except KeyboardInterrupt:
            assert list(target.iterdir()) == [], f"left behind by an interrupt at {at} of {counter.seen}"
        else:
            assert interrupt.seen < at, "the interrupt was swallowed"  # a timed loop made fewer rounds
            emptied(target)
        assert session.state() == before, f"changed by an interrupt at call {at} of {counter.seen}"
    call()
    assert session.state() == before


@pytest.mark.parametrize("name", CALLS)
def test_a_call_changes_nothing(session, name):
    before = session.state()
    CALLS[name](session)
    assert session.state() == before


@pytest.mark.parametrize("name", WRITING)
def test_a_call_that_writes_changes_nothing_else(session, target, name):
    before = session.state()
    WRITING[name](session, target)
    assert session.state() == before
    assert list(target.iterdir())


@pytest.mark.parametrize("name", [name for name in CALLS if name != "compress plain"])
def test_an_interrupt_changes_nothing(session, target, name):
    assert_interrupts_leave_no_trace(session, target, lambda: CALLS[name](session))


@pytest.mark.parametrize("name", WRITING)
def test_an_interrupt_leaves_no_half_written_file(session, target, name):
    assert_interrupts_leave_no_trace(session, target, lambda: WRITING[name](session, target), 3)


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
    "file": lambda s: (s.folder / "left.tmp").write_text(""),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_comparison_notices_every_kind_of_change(session, name):
    changed = copy.deepcopy(session)
    before = changed.state()
    assert changed.state() == before
    CHANGES[name](changed)
    assert changed.state() != before
    if name == "file":
        (session.folder / "left.tmp").unlink()
