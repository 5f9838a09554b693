"""One training step with a caller's own loss and optimizer: known updates, and faults named by argument."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.validation.training.steps import (
    answer,
    check_batches,
    check_judge,
    choose_step,
    default_step,
    make_optimizer,
    read_number,
)

X = torch.tensor([[1.0, 0.0], [0.0, 1.0]])


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05)


def test_the_plain_step_updates_once_and_gives_the_loss_before():
    net = nn.Linear(2, 1, bias=False)
    net.weight.data.fill_(0.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    loss = default_step(F.mse_loss)(net, (X, torch.tensor([[1.0], [3.0]])), optimizer)
    assert loss.item() == 5.0  # (1 + 9) / 2
    assert net.weight.tolist() == [[1.0, 3.0]]  # minus the gradient -(1, 3)


def test_an_own_step_is_taken_before_the_plain_one():
    own = lambda model, batch, optimizer: 0.0  # noqa: E731
    assert choose_step(own, F.mse_loss) is own
    assert choose_step(None, F.mse_loss) is not None
    for step, loss, words in (
        (None, None, "loss_fn: expected a function"),
        (3, None, "step: expected .* int"),
    ):
        with pytest.raises(TypeError, match=words):
            choose_step(step, loss)


@pytest.mark.parametrize("inputs", [X, (X,), {"input": X}])
def test_inputs_are_a_tensor_a_tuple_or_keywords(inputs):
    net = nn.Linear(2, 1)
    outputs, targets = answer(net, (inputs, "kept"))
    torch.testing.assert_close(outputs, net(X))
    assert targets == "kept"


def test_a_batch_on_which_the_model_fails_is_numbered_one_for_each_shape():
    net = nn.Linear(2, 1)
    good, bad = (X, X), (torch.ones(2, 3), X)
    check_batches(net, [good, good], "batches")
    with pytest.raises(ValueError, match=r"^held_out: the model fails on the inputs of batch 2 \("):
        check_batches(net, [good, good, bad], "held_out")


def test_a_judge_that_fails_is_told_what_it_was_given():
    net = nn.Linear(2, 3)
    with pytest.raises(ValueError, match=r"^metric: it fails on .* float32 \(2, 3\) .* int64 \(2,\)"):
        check_judge(net, [(X, torch.zeros(2).long())], lambda outputs, targets: outputs @ targets, "metric")


@pytest.mark.parametrize(
    ("loss", "words"),
    [(torch.zeros(4), r"a tensor of shape \(4,\)"), ("low", "got str"), (None, "NoneType"), (True, "bool")],
)
def test_a_loss_is_one_number(loss, words):
    with pytest.raises(ValueError, match=words):
        read_number(loss, "loss")


def test_an_optimizer_owns_the_parameters_that_it_got():
    net, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert make_optimizer(sgd, net).param_groups[0]["lr"] == 0.05
    with pytest.raises(ValueError, match="does not own the parameters"):
        make_optimizer(lambda _: sgd(other.parameters()), net)
    with pytest.raises(TypeError, match="expected a function of the parameters"):
        make_optimizer(sgd(net.parameters()), net)
    with pytest.raises(TypeError, match="return a torch optimizer, got list"):
        make_optimizer(list, net)
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        make_optimizer(sgd, net.requires_grad_(False))
