import itertools
from collections import UserDict

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.execution import inputs
from jlab_compress.execution.calls import Call
from jlab_compress.execution.inputs import read_batches, read_call
from tests.models import mlp, rows
from tests.quick import FAST, narrow


class Pair(nn.Module):
    def forward(self, x, scale=1.0):
        return x * scale


X = rows(6, 3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (X, [((X,), {})]),
        ((X, 2.0), [((X, 2.0), {})]),
        ({"x": X, "scale": 2.0}, [((), {"x": X, "scale": 2.0})]),
        (UserDict(x=X), [((), {"x": X})]),
        ([X, X], [((X,), {}), ((X,), {})]),
        ([(X, 2.0), {"x": X}], [((X, 2.0), {}), ((), {"x": X})]),
        ((b for b in [X]), [((X,), {})]),
    ],
)
def test_batches_are_read_as_the_model_is_called(value, expected):
    calls, cut = read_batches(Pair(), value)
    assert not cut
    for call, (args, kwargs) in zip(calls, expected, strict=True):
        assert len(call.args) == len(args)
        assert set(call.kwargs) == set(kwargs)
        assert torch.equal(call(Pair()), Pair()(*args, **kwargs))


def test_values_beyond_the_models_arguments_are_left_out_and_reported():
    calls, cut = read_batches(Pair(), [[X, 2.0, torch.zeros(6)]])
    assert cut
    assert len(calls[0].args) == 2


def test_infinite_masks_are_allowed_but_not_infinite_inputs():
    mask = torch.full((6, 3), -torch.inf)
    read_batches(Pair(), {"x": X, "scale_mask": mask})
    with pytest.raises(ValueError, match="NaN or infinite"):
        read_batches(Pair(), {"x": mask})


def test_what_is_no_batch_is_refused():
    with pytest.raises(TypeError, match="of keyword arguments, not int"):
        read_call(Pair(), 3)
    with pytest.raises(TypeError, match="inputs batch 1: a batch must be"):
        read_batches(Pair(), [X, 3], "inputs")
    with pytest.raises(
        TypeError,
        match="an iterable of these, got ndarray",
    ):
        read_batches(Pair(), X.numpy())
    with pytest.raises(ValueError, match="expected at least one batch, got none"):
        read_batches(Pair(), [])
    with pytest.raises(ValueError, match="batch 0: holds an empty tensor"):
        read_batches(Pair(), X[:0])


def test_a_call_is_taken_with_its_values():
    read, cut = read_call(Pair(), Call((X,), {"scale": 2.0}))
    assert torch.equal(read.args[0], X)
    assert (read.kwargs, cut) == ({"scale": 2.0}, False)


class Endless:
    """A loader that says nothing of its length, or too little."""

    def __init__(self, rows=100, said=None):
        self.rows, self.said, self.read = rows, said, 0

    def __iter__(self):
        while True:
            self.read += 1
            yield torch.ones(self.rows, 3)

    def __len__(self):
        if self.said is None:
            raise TypeError("a stream has no length")
        return self.said


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield torch.ones(3)


@pytest.mark.parametrize(
    "batches",
    [
        Endless(),
        Endless(said=3),
        itertools.cycle([X]),
        torch.utils.data.DataLoader(Stream(), batch_size=500),
        itertools.repeat({"x": X}),
        itertools.repeat(torch.tensor(1.0)),
    ],
)
def test_batches_without_end_are_refused_and_read_as_far_as_a_limit(batches):
    with pytest.raises(ValueError, match=r"given: expected batches that come to an end, got .* pass limit="):
        read_batches(Pair(), batches, "given")
    assert len(read_batches(Pair(), batches, "given", 4)[0]) == 4


def test_batches_are_refused_by_what_they_hold_in_memory(monkeypatch):
    monkeypatch.setattr(inputs, "MOST_BYTES", 10_000)
    endless = Endless()
    with pytest.raises(ValueError, match="got 9 with 900 rows and still more"):
        read_batches(Pair(), endless)
    assert endless.read == 10


def test_a_limit_reads_no_further_than_that():
    endless = Endless()
    assert len(read_batches(Pair(), endless, limit=2)[0]) == 2
    assert endless.read == 2
    assert len(read_batches(Pair(), [X, X], limit=5)[0]) == 2


def test_batches_that_say_how_many_they_are_are_all_read():
    few = inputs.MOST_ROWS // 1000 + 3
    assert len(read_batches(Pair(), [torch.ones(1000, 3)] * few)[0]) == few


@pytest.mark.parametrize(
    ("limit", "error", "words"),
    [
        (0, ValueError, "at least one batch, got 0"),
        (2.0, TypeError, "got 2.0"),
        (True, TypeError, "got True"),
    ],
)
def test_what_is_no_limit_is_refused(limit, error, words):
    with pytest.raises(error, match=f"limit: expected .*{words}"):
        read_batches(Pair(), [X], limit=limit)


def test_every_call_that_takes_calibration_takes_a_limit():
    net = mlp(3, 12, 2)
    same = {"seed": 0, "effort": FAST}
    calls = [
        lambda **given: jlab_compress.compress(net, 4, progress=False, **same, **given).report.to_dict(),
        lambda **given: narrow(net, 4, x=given.pop("calibration"), **given).report.to_dict(),
        lambda **given: jlab_compress.sweep(net, [4], **same, **given).report.to_dict(),
        lambda **given: jlab_compress.allocate_widths(net, parameters=0.6, **same, **given),
        lambda **given: jlab_compress.prepare(net, **given).calls[0].rows,
    ]
    batches = [rows(20, 3, seed=i) for i in range(3)]
    for call in calls:
        assert call(calibration=itertools.cycle(batches), limit=2) == call(calibration=batches[:2])
    prepared = jlab_compress.prepare(net, batches)
    with pytest.raises(ValueError, match="limit: the model was prepared with its calibration"):
        jlab_compress.sweep(prepared, limit=2)


def test_pairs_without_end_are_read_as_far_as_the_steps():
    net = mlp(3, 12, 2)
    slim = narrow(net, 4, x=rows(20, 3)).model
    pairs = itertools.repeat((X, torch.zeros(6, 2)))

    def validate(batches, **given):
        return jlab_compress.validate(
            net,
            slim,
            batches,
            nn.functional.mse_loss,
            optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
            references=[],
            progress=False,
            **given,
        )

    assert len(validate(pairs, steps=2).curves[0]["slim"].losses) == 2
    with pytest.raises(ValueError, match=r"batches: expected batches that come to an end.*pass steps="):
        validate(pairs)
    with pytest.raises(ValueError, match=r"held_out: expected batches that come to an end.*pass a list"):
        validate([(X, torch.zeros(6, 2))], held_out=pairs)


class Tempered(nn.Module):
    """What a loader gives second is a target, but forward would take it for a temperature."""

    def __init__(self):
        super().__init__()
        self.body = mlp(3, 12, 4)

    def forward(self, x, temperature=None):
        scores = self.body(x)
        return scores if temperature is None else scores / temperature


class Open(Tempered):
    def forward(self, *args):
        return super().forward(*args)


class Masked(Tempered):
    def forward(self, x, mask=None):
        return super().forward(x if mask is None else x * mask)


class Losing(Tempered):
    def forward(self, x, labels=None):
        return super().forward(x)


CLASSES = torch.arange(40) % 4
SOME = rows(40, 3)
TOLD = [
    (Tempered, CLASSES, "target"),  # zeros among them give NaN
    (Tempered, CLASSES[:, None] + 1, "temperature"),
    (Tempered, CLASSES + 1, "target"),
    (Tempered, rows(40, 4), "target"),
    (Tempered, torch.full((40, 1), 2.0, dtype=SOME.dtype), "temperature"),
    (Open, CLASSES, "target"),
    (Masked, torch.ones(40, 3, dtype=SOME.dtype), "mask"),
]


@pytest.mark.parametrize(("kind", "second", "taken"), TOLD)
def test_targets_are_told_from_inputs_and_what_was_taken_is_said(kind, second, taken):
    batches = [[SOME[:20], second[:20]], [SOME[20:], second[20:]]]
    made = jlab_compress.compress(kind(), 6, calibration=batches, effort=FAST, progress=False)
    (note,) = [note for note in made.report.notes if "of each calibration batch" in note]
    left_out = "Value 2 of each calibration batch was taken for a target and left out"
    assert note.startswith(
        left_out if taken == "target" else f"Value 2 of each calibration batch was taken for `{taken}`"
    )
    with torch.no_grad():
        given = [] if taken == "target" else [second]
        wanted = kind()(SOME, *given)
    prepared = jlab_compress.prepare(kind(), batches)
    assert torch.equal(torch.cat([call(prepared.original) for call in prepared.calls]), wanted)


def test_labels_by_name_and_values_that_must_be_given_are_taken_as_they_are():
    for model, batch in ((Losing(), [SOME, CLASSES]), (Pair(), [SOME]), (Added(), [SOME, SOME])):
        prepared = jlab_compress.prepare(model, [batch])
        assert len(prepared.calls[0].args) == len(batch)
        assert not any("of each calibration batch" in note for note in prepared.blocks.notes)


class Added(nn.Module):
    def forward(self, x, y):
        return x + y
