"""A notebook's session, what is called in it, and faults put into a call at any line of the package.

Lines are those of the package, of the model and of the caller's own functions, generators and the blocks of
`finally` among them: a trace function raises there. That is more than can happen, as Python looks for an
interrupt only where a call begins or has ended and where a loop turns. Not covered are faults inside other
packages and in compiled code, and a second fault that comes while the first is being cleaned up after.
"""

import hashlib
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import onnx
import torch
from torch import nn

import jlab_compress
from jlab_compress.errors import in_words
from jlab_compress.fitting.aims import short_training
from tests.fingerprint import fingerprint_of, state_of_process
from tests.quick import FAST

WATCHED = (str(Path(jlab_compress.__file__).parent), __file__)
ERRORS = (
    KeyboardInterrupt("put in"),
    RuntimeError("put in"),
    torch.OutOfMemoryError("put in"),
    MemoryError("put in"),
)
Site = tuple[str, int]


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
    """A model, data, a slim model and a folder to write to, as a notebook holds them."""

    def __init__(self, folder: Path) -> None:
        self.kept, self.target = folder / "kept", folder / "target"
        self.kept.mkdir()
        self.target.mkdir()
        self.net = Net()
        generator = torch.Generator().manual_seed(1)
        self.rows = torch.randn(24, 5, generator=generator)
        targets = torch.randint(3, (24,), generator=generator)
        self.batches = [(self.rows[i : i + 8], targets[i : i + 8]) for i in (0, 8, 16)]
        self.curve = nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 1))
        self.slim = jlab_compress.compress(
            self.net, 4, calibration=self.rows, effort=FAST, progress=False
        ).model
        self.prepared = jlab_compress.prepare(self.net, self.rows)
        jlab_compress.save(self.slim, self.kept / "kept.safetensors")

    def state(self) -> list[Any]:
        """All that must stay: the models, the data, torch's settings, this process and the files."""
        data = [self.rows, *(tensor for pair in self.batches for tensor in pair)]
        files = sorted(map(str, self.kept.rglob("*")))
        return [fingerprint_of(self.net, self.slim, self.curve, *data), state_of_process(), files]

    def emptied(self) -> None:
        """Remove what was written to the folder."""
        for path in sorted(self.target.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def half(self) -> list[str]:
        """What of the folder is there without being whole."""
        return [*self.hidden(), *(p.name for p in self.target.glob("[!.]*") if not whole(p, self.net))]

    def hidden(self) -> list[str]:
        """What is being written, or was left behind, in the folder or beside it."""
        return [path.name for folder in (self.target, self.target.parent) for path in folder.glob(".*")]


def whole(path: Path, net: nn.Module) -> bool:
    """Whether a file, or a model in a repository, is all there."""
    if path.suffix == ".safetensors":
        return isinstance(jlab_compress.load(path, net), Net)
    if path.suffix == ".onnx":
        return bool(onnx.load(path).graph.node)
    if path.suffix == ".pt2":
        return isinstance(torch.export.load(path).module(), nn.Module)
    versions = [each for each in path.iterdir() if each.is_dir()]
    return (path / "config.pbtxt").stat().st_size > 0 and all(_is_whole_version(each) for each in versions)


def _is_whole_version(folder: Path) -> bool:
    lines = (folder / "SHA256SUMS").read_text("utf-8").splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sums}
    return found == sums and "model.onnx" in sums


@contextmanager
def session_in(folder: Path) -> Iterator[Session]:
    """Give a session whose temporary files go into the folder, and whose fits take little time."""
    defaults, place = short_training.train_on.__defaults__, tempfile.tempdir
    (folder / "temporary").mkdir()
    try:
        short_training.train_on.__defaults__, tempfile.tempdir = (4,), str(folder / "temporary")
        yield Session(folder)
    finally:
        short_training.train_on.__defaults__, tempfile.tempdir = defaults, place


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, targets)


def optimizer(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def compress(s: Session, **options: Any) -> Any:
    return jlab_compress.compress(s.net, 4, calibration=s.rows, effort=FAST, progress=False, **options)


def moments(s: Session) -> Any:
    rows, how = s.rows[:, :1], {"effort": FAST, "progress": False}
    return jlab_compress.compress(s.curve, 8, calibration=rows, preserve="moments", **how)


def validate(s: Session) -> Any:
    return jlab_compress.validate(
        s.net, s.slim, s.batches, loss, optimizer=optimizer, steps=3, held_out=s.batches[0], progress=False
    )


def transfer(s: Session) -> Any:
    return jlab_compress.transfer_optimizer(optimizer(s.net.parameters()), s.net, s.slim)


def lay(s: Session) -> Any:
    return jlab_compress.export_repository(s.slim, s.target, "digits", s.rows)


Function = Callable[[Session], Any]
CALLS: dict[str, Function] = {
    "find_blocks": lambda s: jlab_compress.find_blocks(s.net),
    "find_blocks with inputs": lambda s: jlab_compress.find_blocks(s.net, s.rows),
    "sweep": lambda s: jlab_compress.sweep(s.net, [4], calibration=s.rows, effort=FAST),
    "compress for dynamics": compress,
    "compress for the function": lambda s: compress(s, preserve="function"),
    "compress for moments": moments,
    "compress plain": lambda s: compress(s, plain=True),
    "compress what was prepared": lambda s: jlab_compress.compress(
        s.prepared, 4, effort=FAST, progress=False
    ),
    "validate": validate,
    "fold": lambda s: jlab_compress.fold(s.slim),
    "load": lambda s: jlab_compress.load(s.kept / "kept.safetensors", s.net),
    "transfer_optimizer": transfer,
}
WRITING: dict[str, Function] = {
    "save": lambda s: jlab_compress.save(s.slim, s.target / "slim.safetensors"),
    "export_onnx": lambda s: jlab_compress.export_onnx(s.slim, s.target / "slim.onnx", s.rows),
    "export_program": lambda s: jlab_compress.export_program(s.slim, s.target / "slim.pt2", s.rows),
    "export_repository": lay,
}


class Fault:
    """Counts how often lines are reached; raises an error when one is reached for the n-th time."""

    def __init__(self, site: Site | None = None, number: int = 0, error: BaseException | None = None) -> None:
        self.site, self.number, self.error = site, number, error
        self.reached: Counter[Site] = Counter()
        self.raised = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(WATCHED) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            site = (frame.f_code.co_filename, frame.f_lineno)
            self.reached[site] += 1
            if site == self.site and self.reached[site] == self.number:
                self.raised = True
                assert self.error is not None
                raise self.error
        return self._line

    def during(self, call: Function, session: Session) -> str:
        """Call, and return what became of the error."""
        sys.settrace(self)
        try:
            call(session)
        except BaseException as error:
            sys.settrace(None)
            return "raised" if error is self.error else f"told as {in_words(error)}"
        finally:
            sys.settrace(None)
        return "passed over" if self.raised else "not reached"


def faults(call: Function, session: Session, n: int, seed: int = 0) -> Iterator[Fault]:
    """Draw faults: any line that a call reaches with equal chance, at any of the times it is reached."""
    call(session)  # what is imported now is not imported, and not counted, below
    session.emptied()
    counted = Fault()
    counted.during(call, session)
    session.emptied()
    sites, draw = sorted(counted.reached), random.Random(seed)
    for number in range(n):
        site = draw.choice(sites)
        yield Fault(site, draw.randint(1, counted.reached[site]), ERRORS[number % len(ERRORS)])
