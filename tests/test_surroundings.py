"""Whatever surrounds a public call: its result is the same bits, nothing of the caller's is written to."""

import contextlib
import copy
import inspect
import logging
import random
import sys
import warnings
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import jlab_compress
from jlab_compress.surroundings import _default_dtype, as_called, shielded
from tests.fingerprint import differences, state_of_process, state_of_torch
from tests.quick import FAST

X = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
FEW, WIDE = X[:4].clone(), X.double()
Y = torch.randint(3, (40,), generator=torch.Generator().manual_seed(2))
BATCHES = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)]


class OffByALittle(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return _more(function(*args, **(kwargs or {})))


class OffByALittleInside(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _more(function(*args, **(kwargs or {})))


def _more(value):
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    with torch._C.DisableTorchFunction():
        return torch.add(value, 0.01) if floating else value


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


AROUND = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no gradients": torch.no_grad,
    "gradients switched off": lambda: torch.set_grad_enabled(False),
    "inference mode": torch.inference_mode,
    "default dtype": lambda: _default_dtype(torch.float64),
    "default device": lambda: torch.device("meta"),
    "packed tensors": lambda: torch.autograd.graph.saved_tensors_hooks(lambda t: 0 * t, lambda t: t),
    "function mode": OffByALittle,
    "dispatch mode": OffByALittleInside,
    "deterministic": deterministic,
}


@contextmanager
def everything():
    with ExitStack() as stack:
        for around in AROUND.values():
            stack.enter_context(around())
        yield


def net():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 3))


def compress(model=None, x=X, **options):
    return jlab_compress.compress(model or net(), 4, calibration=x, effort=FAST, progress=False, **options)


NET = net()
MADE = compress(NET)
SLIM = MADE.model


def with_gradients():
    model = copy.deepcopy(SLIM)
    nn.functional.cross_entropy(model(X), Y).backward()
    return model


def changed(change):
    def call(folder, model):
        change(model)
        return model

    return call


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def trained():
    model = copy.deepcopy(NET)
    optimizer = sgd(model.parameters())
    nn.functional.cross_entropy(model(X), Y).backward()
    optimizer.step()
    return optimizer, model


def validated(folder, _):
    return jlab_compress.validate(
        NET,
        SLIM,
        BATCHES,
        nn.functional.cross_entropy,
        optimizer=sgd,
        steps=3,
        references=["another batch order", "random subset"],
        progress=False,
    )


def transferred(folder, given):
    optimizer, model = given
    made = jlab_compress.transfer_optimizer(optimizer, model, SLIM)
    return [value["momentum_buffer"] for value in made.state.values()]


def saved(folder, _):
    jlab_compress.save(SLIM, folder / "slim.safetensors")
    return folder / "slim.safetensors"


def loaded(folder, path):
    return jlab_compress.load(path, NET)


def stored(tmp):
    path = tmp / "kept.safetensors"
    jlab_compress.save(SLIM, path)
    return path


# What is called, and what it is given; that is made before, in plain surroundings.
CALLS = {
    "adam_rate_factors": lambda folder, _: jlab_compress.adam_rate_factors(
        NET, SLIM, batches=BATCHES, loss_fn=nn.functional.cross_entropy
    ),
    "add_gradient_noise_": changed(
        lambda model: jlab_compress.add_gradient_noise_(
            model.parameters(), 0.1, torch.Generator().manual_seed(0)
        )
    ),
    "allocate_widths": lambda folder, _: jlab_compress.allocate_widths(
        NET, calibration=X, parameters=0.6, effort=FAST
    ),
    "clip_grad_norm_": changed(lambda model: jlab_compress.clip_grad_norm_(model.parameters(), 0.01)),
    "compress": lambda folder, _: compress(NET),
    "compress_baseline": lambda folder, _: jlab_compress.compress_baseline(
        NET, 4, calibration=X, method="k-means"
    ),
    "compress_cloud": lambda folder, _: jlab_compress.compress_cloud(WIDE, size=6),
    "compress_dataset": lambda folder, _: jlab_compress.compress_dataset(X, Y, size=12),
    "export_onnx": lambda folder, _: jlab_compress.export_onnx(SLIM, folder / "slim.onnx", FEW).sha256,
    "export_program": lambda folder, _: jlab_compress.export_program(SLIM, folder / "slim.pt2", FEW).parity,
    "find_blocks": lambda folder, _: jlab_compress.find_blocks(NET, X),
    "fold": lambda folder, _: jlab_compress.fold(SLIM),
    "load": loaded,
    "merge_clouds": lambda folder, cloud: jlab_compress.merge_clouds(cloud, cloud),
    "prepare": lambda folder, _: jlab_compress.prepare(NET, X).original,
    "recombine": lambda folder, _: jlab_compress.recombine(WIDE),
    "save": saved,
    "sweep": lambda folder, _: jlab_compress.sweep(NET, [4], calibration=X, effort=FAST).forecasts,
    "transfer_optimizer": transferred,
    "validate": validated,
}
GIVEN = {
    "add_gradient_noise_": lambda tmp: with_gradients(),
    "clip_grad_norm_": lambda tmp: with_gradients(),
    "load": stored,
    "merge_clouds": lambda tmp: jlab_compress.Cloud(WIDE, torch.ones_like(WIDE[:, 0])),
    "transfer_optimizer": lambda tmp: trained(),
}


def content(value):
    """Everything that a result says, as plain values and bytes."""
    if isinstance(value, torch.Tensor):
        kind = (value.dtype, str(value.device), value.requires_grad, tuple(value.shape))
        return kind, value.detach().contiguous().view(torch.uint8).numpy().tobytes()
    if isinstance(value, nn.Module):
        tensors = [*value.named_parameters(), *value.named_buffers()]
        return {name: (content(t), content(t.grad)) for name, t in tensors}
    if isinstance(value, Path):
        return content(jlab_compress.load(value, NET))
    if isinstance(value, jlab_compress.Compression):
        return content([value.model, value.report.to_dict()])
    if isinstance(value, jlab_compress.Validation):
        return content([[vars(c) for c in run.values()] for run in value.curves])
    if isinstance(value, dict):
        return {key: content(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [content(item) for item in value]
    return content(vars(value)) if hasattr(value, "__dict__") else repr(value)


def outcome(name, folder, around):
    folder.mkdir()
    given = GIVEN.get(name, lambda tmp: None)(folder)
    with around():
        result = CALLS[name](folder, given)
    return content(result)


FUNCTIONS = [name for name in jlab_compress.__all__ if inspect.isfunction(getattr(jlab_compress, name))]


def is_shielded(function):
    """Whether a function starts with the guard."""
    return function.__code__ is shielded()(lambda: None).__code__


# A term of the caller's own loss, which follows the surroundings of that loss.
PART_OF_A_LOSS = {"squared_norm"}


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - PART_OF_A_LOSS))
def test_every_public_function_is_shielded(name):
    assert is_shielded(getattr(jlab_compress, name)), f"write @shielded() above {name}"


def test_a_function_without_the_guard_is_noticed():
    assert not is_shielded(net)
    assert not is_shielded(torch.no_grad()(net))


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_the_same_bits_whatever_surrounds_the_call(name, tmp_path):
    plain = outcome(name, tmp_path / "plain", nullcontext)
    assert outcome(name, tmp_path / "inside", everything) == plain


@pytest.mark.parametrize("around", AROUND.values(), ids=list(AROUND))
def test_each_of_the_surroundings_alone_changes_nothing(around):
    with around():
        made = compress(NET)
    assert content(made) == content(MADE)


@pytest.mark.parametrize("name", ["autocast", "default dtype", "function mode", "dispatch mode"])
def test_the_surroundings_would_change_a_result(name):
    """Without the guard: the same computation, written down here, gives other bits inside."""

    def computed():
        return NET(X) + torch.full((1,), 0.1)

    plain = computed()
    with AROUND[name]():
        inside = computed()
    assert content(inside) != content(plain)


def test_surroundings_are_back_afterwards_also_after_an_error(fingerprint):
    with everything():
        before = fingerprint()
        with pytest.raises(ValueError, match="calibration: expected at least one batch"):
            compress(NET, [])
        assert fingerprint() == before
        assert torch.is_autocast_enabled("cpu")
        assert torch.is_inference_mode_enabled()


def encoded():
    """Features of an encoder, which carry its graph."""
    encoder = nn.Linear(5, 5)
    return encoder, encoder(X)


def test_inputs_that_carry_a_graph_are_taken_as_their_values():
    encoder, features = encoded()
    assert content(compress(NET, features)) == content(compress(NET, features.detach()))
    assert [p.grad for p in encoder.parameters()] == [None, None]
    pairs = [(features[:20], Y[:20]), (features[20:], Y[20:])]
    loss = nn.functional.cross_entropy
    results = [
        jlab_compress.validate(
            NET, SLIM, data, loss, optimizer=sgd, references=["random subset"], progress=False
        )
        for data in (pairs, [(x.detach(), y) for x, y in pairs])
    ]
    assert content(results[0]) == content(results[1])
    assert [p.grad for p in encoder.parameters()] == [None, None]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: jlab_compress.compress_dataset(x, Y, size=12),
        lambda x: jlab_compress.compress_cloud(x, size=12),
        jlab_compress.recombine,
    ],
)
def test_points_that_carry_a_graph_are_taken_as_their_values(call):
    encoder, features = encoded()
    assert content(call(features)) == content(call(features.detach()))
    assert [p.grad for p in encoder.parameters()] == [None, None]


def test_inputs_and_a_model_made_in_inference_mode_are_taken_as_their_values():
    with torch.inference_mode():
        model, x = net(), X.clone()
    assert content(compress(model, x)) == content(compress(NET, X))


class Habits(nn.Module):
    """Changes its inputs in place and takes its batch apart."""

    def __init__(self):
        super().__init__()
        self.body = net()

    def forward(self, batch):
        x = batch.pop("x")
        x += 1.0
        return self.body(x)


class Tidy(Habits):
    def forward(self, batch):
        return self.body(batch["x"] + 1.0)


def test_a_model_that_writes_into_its_inputs_is_given_copies():
    given = X.clone()
    batch = {"x": given}
    slim = [compress(kind(), [(batch,)]).model for kind in (Habits, Tidy)]
    assert content(slim[0]) == content(slim[1])
    assert torch.equal(given, X)
    assert list(batch) == ["x"]
    blocks = jlab_compress.find_blocks(Habits(), (batch,))
    assert [block.locked for block in blocks] == [None, None]
    assert list(batch) == ["x"]


def test_a_step_that_writes_into_its_batch_is_given_copies():
    def step(model, batch, optimizer, spoil):
        x, y = batch
        x = x.mul_(0.5) if spoil else x * 0.5
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    results = [
        jlab_compress.validate(
            NET,
            SLIM,
            BATCHES,
            step=lambda *given, spoil=spoil: step(*given, spoil),
            optimizer=sgd,
            references=[],
            progress=False,
        )
        for spoil in (True, False)
    ]
    assert content(results[0]) == content(results[1])


def test_a_loader_that_writes_every_batch_into_one_tensor_is_read_as_it_comes():
    def loader():
        buffer = torch.empty(8, 5)
        for i in range(0, 40, 8):
            yield buffer.copy_(X[i : i + 8])

    apart = [X[i : i + 8] for i in range(0, 40, 8)]
    assert content(compress(NET, loader())) == content(compress(NET, apart))


class Float64ByDefault(nn.Module):
    """Written under a default dtype, which it needs."""

    def __init__(self):
        super().__init__()
        self.body = net()

    def forward(self, x):
        return self.body(x @ torch.eye(5))


def test_a_model_keeps_the_default_dtype_that_it_was_written_for():
    with _default_dtype(torch.float64):
        model, x = Float64ByDefault(), X.double()
        slim = compress(model, x).model
        assert slim(x).dtype == torch.float64


def test_defaults_are_the_callers_only_where_the_callers_code_runs():
    @shielded()
    def outer():
        with as_called():
            callers = torch.zeros(1).dtype, inner()
        return torch.zeros(1).dtype, callers, inner()

    @shielded()
    def inner():
        with as_called():
            callers = torch.zeros(1).dtype
        return torch.zeros(1).dtype, callers

    here = (torch.float32, torch.float64)
    with _default_dtype(torch.float64):
        assert outer() == (torch.float32, (torch.float64, here), here)
        assert torch.zeros(1).dtype == torch.float64


def test_a_context_that_was_cut_short_ends_with_the_call_and_not_with_its_traceback():
    """A generator that waits for its traceback to go would put old states back long after the call."""
    ended = []

    @contextmanager
    def context():
        try:
            yield
        finally:
            ended.append(torch.is_grad_enabled())

    def cut(frame, event, argument):
        if frame.f_code is contextlib._GeneratorContextManager.__exit__.__code__:
            raise KeyboardInterrupt("cut short")

    @shielded()
    def call():
        with torch.no_grad(), context():
            sys.settrace(cut)

    try:
        with pytest.raises(KeyboardInterrupt, match="cut short") as caught:
            call()
    finally:
        sys.settrace(None)
    assert ended == [True]
    assert caught.value.__traceback__ is not None


def test_what_a_fault_left_on_is_as_it_was_before():
    warning_filters, mode = list(warnings.filters), OffByALittle()

    @shielded()
    def careless():
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_autocast_enabled("cpu", True)
        torch.autograd.set_detect_anomaly(True)
        np.seterr(all="raise")
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        warnings.catch_warnings().__enter__()
        OffByALittle().__enter__()
        OffByALittleInside().__enter__()
        torch.rand(1), np.random.rand(), random.random()
        raise KeyboardInterrupt("careless")

    with mode:
        before = state_of_torch(), state_of_process()
        with pytest.raises(KeyboardInterrupt, match="careless"):
            careless()
        assert differences(before, (state_of_torch(), state_of_process())) == []
    assert warnings.filters == warning_filters


def test_noise_is_drawn_from_the_callers_random_numbers():
    layer = nn.Linear(2, 2)
    noises = []
    for _ in range(2):
        layer.weight.grad = torch.zeros(2, 2)
        jlab_compress.add_gradient_noise_(layer, 1.0)
        noises.append(layer.weight.grad)
    assert not torch.equal(*noises)
