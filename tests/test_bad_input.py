"""What cannot be used is refused at the public door, in one sentence, and nothing has changed."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jlab_compress import (
    UnsupportedBlockError,
    compress,
    export_onnx,
    export_repository,
    find_blocks,
    fold,
    load,
    save,
    sweep,
    transfer_optimizer,
    validate,
)
from jlab_compress.compression.compress import compress_baseline


def small_net(width: int = 12, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """A net in training mode with one open block, "0"."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, width), activation(), nn.Dropout(0.1), nn.Linear(width, 3))


class Normed(nn.Module):
    """Its block is locked: LayerNorm reads statistics over the hidden neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(5, 12), nn.LayerNorm(12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.norm(self.up(x)).relu())


class Untraceable(nn.Module):
    """Its inner module asks for numpy, which no exporter follows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Detour()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


class Detour(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(x.detach().numpy().sum())


class Desk:
    """Models and data, as they lie in a notebook."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.net = small_net()
        self.rows = torch.linspace(-1, 1, 120).reshape(24, 5)
        self.slim = compress_baseline(self.net, 4, calibration=self.rows, method="k-means").model
        self.normed = Normed()
        self.targets = torch.arange(24) % 3
        self.batches = [(self.rows[i : i + 8], self.targets[i : i + 8]) for i in (0, 8, 16)]
        save(self.slim, folder / "slim.safetensors")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One desk for all: what a refused call changed would be seen by that call's own test."""
    with torch.random.fork_rng():
        yield Desk(tmp_path_factory.mktemp("desk"))


Refused = tuple[Callable[[Desk], Any], type[Exception], str]


def poisoned(value: float) -> nn.Module:
    net = small_net()
    with torch.no_grad():
        net[0].weight[2, 1] = value
    return net


def spoiled(rows: torch.Tensor, value: float) -> torch.Tensor:
    rows = rows.clone()
    rows[3, 1] = value
    return rows


def shrink(d: Desk, widths: Any = 4, model: Any = None, **options: Any) -> Any:
    options = {"calibration": d.rows, "progress": False, **options}
    return compress(d.net if model is None else model, widths, **options)


MODELS: dict[str, Refused] = {
    "inspect a function": (lambda d: find_blocks(torch.relu), TypeError, "expected a torch.nn.Module, got b"),
    "inspect a class": (lambda d: find_blocks(nn.Linear), TypeError, "expected a torch.nn.Module, got type"),
    "compress a tensor": (lambda d: shrink(d, model=d.rows), TypeError, "expected a torch.nn.Module, got T"),
    "compress a state dict": (
        lambda d: shrink(d, model=d.net.state_dict()),
        TypeError,
        "expected a torch.nn.Module, got OrderedDict",
    ),
    "TorchScript": (lambda d: find_blocks(torch.jit.script(small_net())), TypeError, "TorchScript"),
    "no blocks": (lambda d: shrink(d, model=small_net()[:2]), UnsupportedBlockError, "no block can be compr"),
    "NaN weight": (
        lambda d: shrink(d, model=poisoned(float("nan"))),
        ValueError,
        "0.weight holds NaN or inf",
    ),
    "infinite weight": (lambda d: shrink(d, model=poisoned(float("inf"))), ValueError, "0.weight holds NaN"),
    "fold no slim model": (lambda d: fold(d.net), ValueError, "has no compression plan"),
    "fold no module": (lambda d: fold(d.rows), (TypeError, ValueError), "Tensor"),
    "save no slim model": (lambda d: save(d.net, d.folder / "n"), ValueError, "has no compression plan"),
}

WIDTHS: dict[str, Refused] = {
    "zero": (lambda d: shrink(d, 0), ValueError, "block 0 has 12 neurons, so expected 1 to 12, got 0"),
    "negative": (lambda d: shrink(d, -3), ValueError, "block 0 .* got -3"),
    "above": (lambda d: shrink(d, 13), ValueError, "block 0 has 12 neurons, so expected 1 to 12, got 13"),
    "zero fraction": (lambda d: shrink(d, 0.0), ValueError, "block 0: expected a fraction .* got 0"),
    "float above one": (lambda d: shrink(d, 4.0), ValueError, "fraction between 0 and 1, got 4"),
    "NaN": (lambda d: shrink(d, float("nan")), ValueError, "fraction between 0 and 1, got nan"),
    "word": (lambda d: shrink(d, "half"), TypeError, "block 0: expected .* got 'half'"),
    "flag": (lambda d: shrink(d, True), TypeError, "block 0: expected .* got True"),
    "None": (lambda d: shrink(d, None), ValueError, "widths, tolerance: give exactly one"),
    "both": (lambda d: shrink(d, 4, tolerance=0.1), ValueError, "widths, tolerance: give exactly one"),
    "no tolerance": (lambda d: shrink(d, None, tolerance=0), ValueError, "tolerance: expected a positive"),
    "tolerance as a word": (lambda d: shrink(d, None, tolerance="1%"), TypeError, "tolerance: .* got '1%'"),
    "list": (lambda d: shrink(d, [4]), TypeError, r"block 0: expected .* got \[4\]"),
    "no entry": (lambda d: shrink(d, {}), ValueError, "widths: names no block"),
    "unknown block": (lambda d: shrink(d, {"O": 4}), ValueError, "there is no block 'O'"),
    "close name": (
        lambda d: shrink(d, {"upp": 4}, d.normed),
        ValueError,
        "there is no block 'upp'; did you mean 'up'",
    ),
    "name of another type": (lambda d: shrink(d, {0: 4}), ValueError, "there is no block 0"),
    "zero in a mapping": (lambda d: shrink(d, {"0": 0}), ValueError, "block 0 .* got 0"),
    "locked block": (
        lambda d: shrink(d, {"up": 4}, d.normed),
        UnsupportedBlockError,
        "block up: it is locked: .*",
    ),
    "all locked": (lambda d: shrink(d, 4, d.normed), UnsupportedBlockError, r"no block can be .*\(up: "),
}

CALIBRATION: dict[str, Refused] = {
    "None": (lambda d: shrink(d, calibration=None), TypeError, "calibration: expected .* got NoneType"),
    "number": (lambda d: shrink(d, calibration=3), TypeError, "calibration: expected .* got int"),
    "numpy": (
        lambda d: shrink(d, calibration=d.rows.numpy()),
        TypeError,
        "calibration: .* got ndarray; .*torch.from_numpy",
    ),
    "no rows": (lambda d: shrink(d, calibration=d.rows[:0]), ValueError, "calibration.*empty tensor"),
    "no batches": (
        lambda d: shrink(d, calibration=[]),
        ValueError,
        "calibration: expected at least one batch",
    ),
    "no tensors": (lambda d: shrink(d, calibration=({},)), ValueError, "calibration.* holds no tensor"),
    "wrong width": (
        lambda d: shrink(d, calibration=torch.ones(8, 4)),
        ValueError,
        "^calibration: the model f",
    ),
    "wrong type of numbers": (
        lambda d: shrink(d, calibration=d.rows.long()),
        ValueError,
        "^calibration: the",
    ),
    "wrong keyword": (
        lambda d: shrink(d, calibration={"y": d.rows}),
        ValueError,
        "^calibration: the model f",
    ),
    "list of rows": (
        lambda d: shrink(d, calibration=list(d.rows)),
        ValueError,
        "calibration: its first batch is one row of 5 features",
    ),
    "list of arrays": (
        lambda d: shrink(d, calibration=[d.rows.numpy()]),
        TypeError,
        "calibration batch 0: .*torch.from_numpy",
    ),
    "data set": (
        lambda d: shrink(d, calibration=torch.utils.data.TensorDataset(d.rows)),
        TypeError,
        "calibration: .*through a DataLoader",
    ),
    "forecast of a wrong width": (
        lambda d: sweep(d.net, calibration=torch.ones(8, 4)),
        ValueError,
        "^calibration: the model fails",
    ),
    "second batch wrong": (
        lambda d: shrink(d, calibration=[d.rows, torch.ones(8, 4)]),
        ValueError,
        "calibration batch 1",
    ),
    "NaN": (lambda d: shrink(d, calibration=spoiled(d.rows, float("nan"))), ValueError, "calibration.* NaN"),
    "infinite": (lambda d: shrink(d, calibration=spoiled(d.rows, float("inf"))), ValueError, "calibr.* inf"),
    "wrong example": (
        lambda d: find_blocks(d.net, torch.ones(2, 4)),
        ValueError,
        "example_inputs: the model f",
    ),
    "empty example": (lambda d: find_blocks(d.net, d.rows[:0]), ValueError, "example_inputs.* empty"),
}

CHOICES: dict[str, Refused] = {
    "preserve": (
        lambda d: shrink(d, preserve="shape"),
        ValueError,
        "preserve: expected one of .* got 'shape'",
    ),
    "preserve None": (lambda d: shrink(d, preserve=None), ValueError, "preserve: expected one of"),
    "seed": (lambda d: shrink(d, seed="a"), TypeError, "seed: expected a whole number .* got 'a'"),
    "negative seed": (lambda d: shrink(d, seed=-1), ValueError, "seed: expected .* got -1"),
    "plain where it cannot be": (
        lambda d: shrink(d, model=small_net(activation=nn.Tanh), plain=True),
        ValueError,
        "plain: block 0 has the activation tanh",
    ),
    "moments in high dimension": (
        lambda d: shrink(d, 3, small_net(40), preserve="moments"),
        ValueError,
        r"dimension|moments",
    ),
    "baseline": (
        lambda d: compress_baseline(d.net, 4, calibration=d.rows, method="best"),
        ValueError,
        "method: expected one of .* got 'best'",
    ),
}


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, targets)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def compare(d: Desk, slim: Any = None, **options: Any) -> Any:
    slim = d.slim if slim is None else slim
    options = {"optimizer": sgd, "steps": 2, "held_out": d.batches[0], "progress": False, **options}
    original = options.pop("original", d.net)
    return validate(original, slim, options.pop("batches", d.batches), options.pop("loss", loss), **options)


TRAINING: dict[str, Refused] = {
    "no slim model": (lambda d: compare(d, d.net), ValueError, "no compression plan"),
    "no module": (lambda d: compare(d, original=d.rows), TypeError, "original: expected a torch.nn.Module"),
    "other original": (
        lambda d: compare(d, original=small_net(14)),
        ValueError,
        "original: block '0' should have 12 neurons .* found 14",
    ),
    "folded": (lambda d: compare(d, fold(d.slim)), ValueError, "slim: block '0' is folded"),
    "loss by row": (
        lambda d: compare(d, loss=lambda o, t: nn.functional.cross_entropy(o, t, reduction="none")),
        ValueError,
        "loss_fn: expected one number per batch, got a tensor of shape",
    ),
    "NaN loss": (
        lambda d: compare(d, loss=lambda o, t: o.sum() * float("nan")),
        ValueError,
        "loss_fn: .* finite",
    ),
    "no loss": (lambda d: compare(d, loss=None), TypeError, "loss_fn: expected"),
    "empty loader": (lambda d: compare(d, batches=[]), ValueError, "batches: expected at least one .*empty"),
    "one tensor": (lambda d: compare(d, batches=d.rows), TypeError, "batches: expected an iterable of"),
    "no pairs": (
        lambda d: compare(d, batches=[d.rows]),
        ValueError,
        "batches: expected every batch to be a pair",
    ),
    "optimizer object": (
        lambda d: compare(d, optimizer=sgd(d.net.parameters())),
        TypeError,
        "optimizer: exp",
    ),
    "optimizer of others": (
        lambda d: compare(d, optimizer=lambda p: sgd(d.net.parameters())),
        ValueError,
        "optimizer: it does not own the parameters",
    ),
    "no optimizer made": (
        lambda d: compare(d, optimizer=lambda p: None),
        TypeError,
        "optimizer: .* NoneType",
    ),
    "no steps": (lambda d: compare(d, steps=0), ValueError, "steps: expected .* got 0"),
    "part of a step": (lambda d: compare(d, steps=1.5), ValueError, "steps: expected .* got 1.5"),
    "no seconds": (lambda d: compare(d, steps=None, seconds=-1.0), ValueError, "seconds: expected .* got -1"),
    "no seeds": (lambda d: compare(d, seeds=()), ValueError, "seeds: expected"),
    "unknown reference": (
        lambda d: compare(d, references=("best",)),
        ValueError,
        "references: 'best' is unk",
    ),
    "metric of many": (
        lambda d: compare(d, metric=lambda o, t: o),
        ValueError,
        "metric: expected one number",
    ),
    "transfer a wrong optimizer": (
        lambda d: transfer_optimizer(sgd(small_net().parameters()), d.net, d.slim),
        ValueError,
        "optimizer: a parameter .* is not of the original model",
    ),
    "transfer no optimizer": (
        lambda d: transfer_optimizer(d.net, d.net, d.slim),
        TypeError,
        "optimizer: expected a torch optimizer",
    ),
}


def write(d: Desk, path: Any = "out.onnx", rows: Any = None, **options: Any) -> Any:
    model = options.pop("model", d.slim)
    return export_onnx(model, d.folder / path, d.rows if rows is None else rows, **options)


def lay(d: Desk, name: Any = "digits", **options: Any) -> Any:
    directory = options.pop("directory", d.folder)
    return export_repository(d.slim, directory, name, d.rows, **options)


FILES: dict[str, Refused] = {
    "existing file": (
        lambda d: write(d, "kept.onnx"),
        FileExistsError,
        "is there already; choose another name",
    ),
    "no such folder": (lambda d: write(d, "no/out.onnx"), FileNotFoundError, "there is no folder"),
    "a folder": (lambda d: write(d, "folder.onnx", overwrite=True), FileExistsError, "is there already"),
    "no ending": (lambda d: write(d, "out.pt"), ValueError, "ends in .onnx"),
    "opset 16": (lambda d: write(d, opset=16), ValueError, "opset: expected 17 to 23, got 16"),
    "opset 24": (lambda d: write(d, opset=24), ValueError, "opset: expected 17 to 23, got 24"),
    "opset as a word": (lambda d: write(d, opset="18"), ValueError, "opset: expected 17 to 23, got '18'"),
    "one row": (lambda d: write(d, rows=d.rows[:1]), ValueError, "example_inputs: .*(2|two|batch|row)"),
    "no rows": (lambda d: write(d, rows=d.rows[:0]), ValueError, "example_inputs"),
    "numbers only": (lambda d: write(d, rows=3), TypeError, "example_inputs|batch must be"),
    "no module": (
        lambda d: write(d, model=d.rows),
        TypeError,
        "slim: expected a torch.nn.Module, got Tensor",
    ),
    "cannot be exported": (lambda d: write(d, model=Untraceable()), ValueError, "inner"),
    "precision": (lambda d: write(d, precision="int4"), ValueError, "precision: expected one of"),
    "name with a separator": (lambda d: lay(d, "a/b"), ValueError, "name"),
    "name that climbs": (lambda d: lay(d, ".."), ValueError, "name"),
    "name that climbs from inside": (lambda d: lay(d, "a/../../b"), ValueError, "name"),
    "empty name": (lambda d: lay(d, ""), ValueError, "name"),
    "name of another type": (lambda d: lay(d, 3), (TypeError, ValueError), "name"),
    "unknown layout": (lambda d: lay(d, layout="torchserve"), ValueError, "layout: expected one of"),
    "save into no folder": (lambda d: save(d.slim, d.folder / "no" / "s"), OSError, "cannot write"),
    "save over a folder": (lambda d: save(d.slim, d.folder / "folder.onnx"), OSError, "cannot write"),
    "load nothing": (lambda d: load(d.folder / "none", d.net), FileNotFoundError, "there is no file"),
    "load what is not ours": (
        lambda d: load(d.folder / "kept.onnx", d.net),
        ValueError,
        "not a whole safeten",
    ),
    "load what was changed": (
        lambda d: load(d.folder / "changed", d.net),
        ValueError,
        "changed after it was",
    ),
    "load into no module": (
        lambda d: load(d.folder / "slim.safetensors", None),
        TypeError,
        "Module, got None",
    ),
    "load into another": (lambda d: load(d.folder / "slim.safetensors", small_net(9)), ValueError, "has 9"),
}


@pytest.fixture(scope="module", autouse=True)
def files(desk: Desk) -> None:
    """A file that must not be overwritten, a folder under a file's name, a slim file with one bit changed."""
    (desk.folder / "kept.onnx").write_bytes(b"precious")
    (desk.folder / "folder.onnx").mkdir()
    content = bytearray((desk.folder / "slim.safetensors").read_bytes())
    content[-1] ^= 1
    (desk.folder / "changed").write_bytes(content)


def assert_refused(desk: Desk, fingerprint: Callable[..., Any], case: Refused) -> None:
    call, error, message = case
    models = (desk.net, desk.slim, desk.normed)
    data = [t for pair in desk.batches for t in pair]

    def state() -> Any:
        found = {str(p): p.read_bytes() for p in sorted(desk.folder.rglob("*")) if p.is_file()}
        return fingerprint(*models, desk.rows, desk.targets, *data), found

    before = state()
    with pytest.raises(error, match=message) as caught:
        call(desk)
    assert state() == before
    sentence = str(caught.value)
    assert "\n" not in sentence, "more than one line"
    assert len(sentence) < 400, "more than one sentence"


@pytest.mark.parametrize("case", MODELS.values(), ids=MODELS)
def test_models(desk, fingerprint, case):
    assert_refused(desk, fingerprint, case)


@pytest.mark.parametrize("case", WIDTHS.values(), ids=WIDTHS)
def test_widths(desk, fingerprint, case):
    assert_refused(desk, fingerprint, case)


@pytest.mark.parametrize("case", CALIBRATION.values(), ids=CALIBRATION)
def test_calibration(desk, fingerprint, case):
    assert_refused(desk, fingerprint, case)


@pytest.mark.parametrize("case", CHOICES.values(), ids=CHOICES)
def test_choices(desk, fingerprint, case):
    assert_refused(desk, fingerprint, case)


@pytest.mark.parametrize("case", TRAINING.values(), ids=TRAINING)
def test_training(desk, fingerprint, case):
    assert_refused(desk, fingerprint, case)


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_files(desk, fingerprint, case):
    assert_refused(desk, fingerprint, case)


def test_a_path_that_cannot_be_written(desk, fingerprint, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *args, **kwargs: False)  # the tests may run as root
    case = (lambda d: write(d), PermissionError, "cannot be written")
    assert_refused(desk, fingerprint, case)


def test_training_mode_is_handled_and_kept(desk, fingerprint):
    assert desk.net.training
    before = fingerprint(desk.net)
    slim = shrink(desk, 12).model
    assert slim.training
    assert all(m.training for m in slim.modules())
    assert fingerprint(desk.net) == before
    slim.eval()
    twin = small_net().eval()
    with torch.no_grad():
        assert torch.allclose(slim(desk.rows), twin(desk.rows), atol=1e-6), "dropout was on while fitting"


def test_the_check_itself_notices_a_change_and_a_wrong_message(desk, fingerprint):
    def touch(d: Desk) -> None:
        d.targets.add_(0)
        raise ValueError("widths")

    with pytest.raises(AssertionError):
        assert_refused(desk, fingerprint, (touch, ValueError, "widths"))
    with pytest.raises(AssertionError, match=re.escape("did not match")):
        assert_refused(desk, fingerprint, (lambda d: shrink(d, 0), ValueError, "another sentence"))
