"""A passing lack of memory ends a call as it is; it is never told as a property of the model."""

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.errors import lacks_memory
from jlab_compress.fitting.aims import short_training
from tests.models import rows
from tests.quick import FAST

X = rows(24, 6).float()

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(short_training.train_on, "__defaults__", (4,))


class Memory:
    """Runs out at the k-th run of a model, all its copies counted."""

    def __init__(self):
        self.runs, self.at, self.error = 0, 0, ERRORS[0]

    def __deepcopy__(self, memo):
        return self

    def take(self):
        self.runs += 1
        if self.runs == self.at:
            raise self.error


class Short(nn.Module):
    """6-20-12-3, which takes of its memory whenever it runs."""

    def __init__(self):
        super().__init__()
        self.memory = Memory()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 3)
            )

    def forward(self, x):
        self.memory.take()
        return self.body(x)


def train(net, slim):
    batches = [(X[i : i + 8], torch.zeros(8, 3)) for i in (0, 8)]
    return jlab_compress.validate(
        net,
        slim,
        batches,
        nn.functional.mse_loss,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        references=["another batch order"],
        progress=False,
    )


HOW = {"calibration": X, "effort": FAST}
CALLS = {
    "find_blocks": lambda net, slim, to: jlab_compress.find_blocks(net),
    "find_blocks with inputs": lambda net, slim, to: jlab_compress.find_blocks(net, X),
    "sweep": lambda net, slim, to: jlab_compress.sweep(net, [4], **HOW),
    "dynamics": lambda net, slim, to: jlab_compress.compress(net, 4, progress=False, **HOW),
    "function": lambda net, slim, to: jlab_compress.compress(
        net, 4, preserve="function", progress=False, **HOW
    ),
    "validate": lambda net, slim, to: train(net, slim),
    "export_onnx": lambda net, slim, to: jlab_compress.export_onnx(net, to / "net.onnx", X[:4]),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_ends_a_call_as_it_is_wherever_it_comes(name, tmp_path, tmp_path_factory):
    net = Short()
    slim = jlab_compress.compress_baseline(net, 4, calibration=X, method="greedy").model
    memory = net.memory
    memory.runs = 0
    CALLS[name](net, slim, tmp_path_factory.mktemp("counted"))
    total, n = memory.runs, 2 if name == "export_onnx" else 8
    for number, at in enumerate({1 + i * (total - 1) // (n - 1) for i in range(n)}):
        memory.runs, memory.at, memory.error = 0, at, ERRORS[number % 3]
        with pytest.raises(type(memory.error)) as caught:
            CALLS[name](net, slim, tmp_path)
        assert caught.value is memory.error, f"run {at} of {total}"
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", ERRORS)
def test_in_the_joint_refinement_it_is_no_sign_that_the_model_cannot_be_differentiated(error, monkeypatch):
    def backward(*_, **__):
        raise error

    net = Short()
    monkeypatch.setattr(torch.autograd, "backward", backward)
    with pytest.raises(type(error)) as caught:
        CALLS["function"](net, None, None)
    assert caught.value is error


def test_other_errors_are_not_taken_for_it():
    assert all(map(lacks_memory, ERRORS))
    assert not any(map(lacks_memory, [RuntimeError("shapes differ"), ValueError(), KeyboardInterrupt()]))
