"""What cannot be validated is refused in one sentence, and nothing has changed then."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.execution.isolation import copy_model
from jlab_compress.slim.conversion import fold
from jlab_compress.validation.validate import validate
from tests.validation.test_validate import run, sgd
from tests.validation.untouched import assert_untouched, snapshot

OTHER = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 2)).double()
BAD = {
    "empty loader": ({"batches": []}, ValueError, "batches: expected at least one .* got none"),
    "one tensor": ({"batches": torch.ones(3)}, TypeError, "batches: expected an iterable"),
    "no pairs": ({"batches": [torch.ones(2, 3)]}, ValueError, "every batch to be a pair"),
    "no steps": ({"steps": 0}, ValueError, "steps: expected a whole number of at least 1, got 0"),
    "true steps": ({"steps": True}, ValueError, "steps: expected a whole number"),
    "no time": ({"seconds": -1.0}, ValueError, "seconds: expected a positive number"),
    "one seed twice": ({"seeds": (1, 1)}, ValueError, "seeds: expected different whole numbers"),
    "reference": ({"references": ("best",)}, ValueError, "references: 'best' is unknown"),
    "many losses": (
        {"loss_fn": lambda o, t: (o - t).square()}, ValueError,
        "^loss_fn: expected one number per batch, got a tensor of",
    ),
    "NaN loss": (
        {"loss_fn": lambda o, t: (o - t).sum() * float("nan")}, ValueError,
        "^loss_fn: expected finite values on held-out data, got NaN",
    ),
    "NaN from an own step": (
        {"step": lambda model, batch, optimizer: float("nan")}, ValueError,
        "^step: expected a finite number, got nan",
    ),
    "targets of another kind": (
        {"loss_fn": F.cross_entropy, "batches": [(torch.ones(8, 3).double(), torch.ones(8, 2).int())]},
        ValueError, r"^loss_fn: it fails on batch 0, where the model gives float64 \(8, 2\) and the targets "
        r"are int32 \(8, 2\)",
    ),
    "targets of another shape": (
        {"batches": [(torch.ones(8, 3).double(), torch.ones(8, 7).double())]}, ValueError,
        r"^loss_fn: it fails on batch 0, .* targets are float64 \(8, 7\) \(RuntimeError: ",
    ),
    "a metric that fails": (
        {"metric": lambda o, t: o @ t}, ValueError, "^metric: it fails on batch 0, where the model gives",
    ),
    "no loss": ({"loss_fn": None}, TypeError, "loss_fn: expected a function"),
    "loss": ({"loss_fn": 3}, TypeError, "loss_fn: expected a function, got int"),
    "foreign": ({"optimizer": lambda p: sgd(OTHER.parameters())}, ValueError, "does not own the parameters"),
    "made": ({"optimizer": sgd(OTHER.parameters())}, TypeError, "a function of the parameters"),
    "no plan": ({"slim": OTHER}, ValueError, "has no compression plan"),
    "other original": ({"original": OTHER}, ValueError, "block '0' should have 16 neurons .* found 7"),
    "no module": ({"original": torch.tanh}, TypeError, "original: expected a torch.nn.Module"),
    "no slim module": ({"slim": None}, TypeError, "slim: expected a torch.nn.Module, got NoneType"),
    "part of a step": ({"steps": 1.5}, ValueError, "steps: expected .* got 1.5"),
    "no seeds": ({"seeds": ()}, ValueError, "seeds: expected"),
    "no optimizer made": ({"optimizer": lambda p: None}, TypeError, "optimizer: .* NoneType"),
    "many metrics": ({"metric": lambda o, t: o}, ValueError, "metric: expected one number"),
    "wrong shape": (
        {"batches": [(torch.ones(8, 4).double(), torch.ones(8, 2))]}, ValueError,
        "^batches: the model fails on the inputs of batch 0",
    ),
    "second batch wrong": (
        {"batches": [(torch.ones(8, n).double(), torch.ones(8, 2)) for n in (3, 4)]}, ValueError,
        "^batches: the model fails on the inputs of batch 1 ",
    ),
    "wrong held-out shape": (
        {"held_out": (torch.ones(8, 4).double(), torch.ones(8, 2))}, ValueError,
        "^held_out: the model fails on the inputs of batch 0",
    ),
    "a float as loss": ({"loss_fn": lambda o, t: 1.0}, TypeError, "^loss_fn: .* a gradient, got float"),
    "a detached loss": (
        {"loss_fn": lambda o, t: F.mse_loss(o.detach(), t)}, TypeError, "^loss_fn: .* got a tensor without",
    ),
    "held out": ({"held_out": []}, ValueError, "held_out: expected at least one"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_changes_nothing(case, make_pair, batches):
    changes, kind, words = BAD[case]
    wide, slim = make_pair()
    given = {"original": wide, "slim": slim, "batches": batches, "loss_fn": F.mse_loss}
    given |= {"optimizer": sgd, "steps": 3, "progress": False} | changes
    before = snapshot(wide, slim)
    with pytest.raises(kind, match=words) as caught:
        validate(
            given.pop("original"), given.pop("slim"), given.pop("batches"), given.pop("loss_fn"), **given
        )
    assert "\n" not in str(caught.value)
    assert_untouched(before, wide, slim)


def test_a_folded_model_is_refused(make_pair, batches):
    wide, slim = make_pair()
    with pytest.raises(ValueError, match="folded"):
        run(wide, fold(slim), batches)


def test_layers_outside_the_plan_must_agree(make_pair, batches):
    wide, slim = make_pair()
    longer = nn.Sequential(*wide, nn.Linear(2, 2)).double()
    fewer = copy_model(slim)
    fewer.append(nn.Linear(2, 3).double())
    with pytest.raises(ValueError, match=r"parameter '3.weight' of shape \(3, 2\) has no equal"):
        run(longer, fewer, batches)
