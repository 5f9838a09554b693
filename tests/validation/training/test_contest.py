"""What all models share is read and tried once; a budget that means nothing is refused."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.validation.training.contest import Budget, read_contest

PAIRS = [(torch.ones(4, 3) * i, torch.zeros(4, 2)) for i in range(10)]


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def read(**changes):
    given = {"limit": None, "loss_fn": F.mse_loss, "optimizer": sgd, "metric": None, "step": None}
    held_out = changes.pop("held_out", None)
    return read_contest(nn.Linear(3, 2), changes.pop("batches", PAIRS), held_out, **(given | changes))


def test_the_first_eight_batches_judge_where_none_were_kept_apart():
    contest = read()
    assert [batch[0][0, 0].item() for batch in contest.held_out] == list(range(8))
    assert len(contest.batches) == 10
    assert (contest.source, contest.optimizer_name) == ("loss_fn", "SGD")


def test_held_out_data_and_a_limit_are_kept():
    contest = read(held_out=PAIRS[9], limit=4)
    assert len(contest.batches) == 4
    assert all(torch.equal(a, b) for a, b in zip(contest.held_out[0], PAIRS[9], strict=True))


def test_an_own_step_gives_the_loss():
    own = lambda model, batch, optimizer: 0.5  # noqa: E731
    contest = read(step=own, loss_fn=None)
    assert (contest.source, contest.step) == ("step", own)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batches": [(torch.ones(4, 5), torch.ones(4, 2))]}, "^batches: the model fails"),
        ({"held_out": (torch.ones(4, 5), torch.ones(4, 2))}, "^held_out: the model fails"),
        ({"metric": lambda o, t: o}, "^metric: expected one number"),
        ({"loss_fn": lambda o, t: o}, "^loss_fn: expected one number"),
    ],
)
def test_a_fault_is_named_by_its_argument(changes, words):
    with pytest.raises(ValueError, match=words):
        read(**changes)


def test_a_budget_is_steps_or_seconds_for_different_seeds():
    assert Budget.read(5, None, [0, 1]) == Budget(5, None, (0, 1))
    assert Budget.read(None, 0.5, range(3)).seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("steps", "seconds", "seeds", "words"),
    [
        (0, None, (0,), "steps: expected a whole number of at least 1, got 0"),
        (True, None, (0,), "steps: .* got True"),
        (None, math.inf, (0,), "seconds: expected a positive number, got inf"),
        (None, "1", (0,), "seconds: .* got '1'"),
        (1, None, (), "seeds: expected different whole numbers"),
        (1, None, (0, 0), r"seeds: .* got \(0, 0\)"),
    ],
)
def test_a_budget_that_means_nothing_is_refused(steps, seconds, seeds, words):
    with pytest.raises(ValueError, match=words):
        Budget.read(steps, seconds, seeds)
