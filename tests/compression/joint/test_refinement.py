"""One frame for all joint refinement: what moves, what stays, what is said."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.compression.joint.refinement import (
    FAILED,
    Objective,
    free_parameters,
    put_back_on_error,
    refine,
    refine_fits,
)
from jlab_compress.compression.joint.task import DISTILLATION, is_refined, layers_of, needs_whole
from jlab_compress.compression.signals.block_kernels import pair_blocks
from jlab_compress.execution.calls import Call
from jlab_compress.fitting.fit import Fit
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim.layers import read_layer
from tests.compression.joint.tasks import task_of
from tests.compression.signals.test_layer_kernels import convolutions, images
from tests.models import rows

X = rows(40, 6).float()
CALLS = [Call((X,))]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3))


def first_block(net):
    return next(iter(find_blocks(net, X[:2])))


def task(net, slim, **more):
    return task_of(net, slim, [first_block(net)], CALLS, CALLS, **more)


def outputs_of(slim, target):
    return Objective(lambda number: (slim(X) - target).square().mean(), 4, 1, 50)


def test_the_layers_of_the_blocks_move_in_place_and_nothing_else(net):
    slim = copy.deepcopy(net)
    slim[4].bias.requires_grad_(False)
    before, weight = copy.deepcopy(slim), slim[0].weight
    result = refine(task(net, slim), outputs_of(slim, net(X).detach() + 1.0))
    assert result.after < result.before
    assert slim[0].weight is weight
    old = dict(before.named_parameters())
    moved = {n for n, p in slim.named_parameters() if not torch.equal(p, old[n])}
    assert moved == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert [p.requires_grad for p in slim.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(p.grad is None for p in (*slim.parameters(), *net.parameters()))


def test_nothing_changes_where_the_loss_does_not_fall(net):
    slim = copy.deepcopy(net)
    before = copy.deepcopy(slim)
    objective = outputs_of(slim, net(X).detach())
    assert not refine(task(net, slim), objective).helped
    assert all(torch.equal(a, b) for a, b in zip(slim.parameters(), before.parameters(), strict=True))
    fits = {first_block(net).name: fit_of(net)}
    outcome = refine_fits(
        task(net, slim), [first_block(net)], fits, lambda _: objective, method="m", note="n"
    )
    assert (outcome.fits, outcome.notes) == (fits, ())


def fit_of(net):
    return Fit(
        read_layer(net, first_block(net), first_block(net).activation), torch.arange(12), "greedy", 0.1
    )


def test_refined_fits_name_the_method_and_no_kept_neurons(net):
    slim = copy.deepcopy(net)
    fits = {"0": fit_of(net), "other": fit_of(net)}
    objective = outputs_of(slim, net(X).detach() + 1.0)
    outcome = refine_fits(
        task(net, slim), [first_block(net)], fits, lambda _: objective, method=DISTILLATION, note="Refined."
    )
    assert outcome.notes == ("Refined.",)
    assert outcome.fits["0"].indices is None
    assert is_refined(outcome.fits["0"])
    assert outcome.fits["other"] is fits["other"]
    assert fits["0"].method == "greedy"
    assert not is_refined(fits["0"])


def test_a_block_whose_layer_moved_for_its_neighbour_is_refined_too_and_keeps_its_units(net):
    slim, blocks = copy.deepcopy(net), tuple(find_blocks(net, X))
    fits = {block.name: fit_of(net) for block in blocks}
    both = task_of(net, slim, blocks, CALLS, CALLS)
    objective = outputs_of(slim, net(X).detach() + 1.0)
    found = refine_fits(both, blocks[:1], fits, lambda _: objective, method=DISTILLATION, note="n").fits
    assert not torch.equal(slim[2].weight, net[2].weight)
    assert [is_refined(found[block.name]) for block in blocks] == [True, True]
    assert [found[block.name].indices is None for block in blocks] == [True, False]


def test_a_failure_in_the_middle_leaves_no_trace_but_a_note(net):
    slim, seen = copy.deepcopy(net), []
    before = copy.deepcopy(slim)

    def loss(number):
        seen.append(not torch.equal(slim[0].weight, before[0].weight))
        if len(seen) == 5:
            raise RuntimeError("no way back")
        return slim(X).square().sum()

    fits = {"0": fit_of(net)}
    objective = Objective(loss, 4, 1, 50)
    outcome = refine_fits(
        task(net, slim), [first_block(net)], fits, lambda _: objective, method="m", note="n"
    )
    assert seen[-1]
    assert outcome.notes == (FAILED.format("RuntimeError: no way back"),)
    assert outcome.fits == fits
    assert all(torch.equal(a, b) for a, b in zip(slim.parameters(), before.parameters(), strict=True))
    assert all(p.requires_grad for p in slim.parameters())


def test_multiplicities_move_with_their_sum(net):
    slim = compress_baseline(net, {"0": 5}, calibration=X, method="random").model
    pairs = pair_blocks(net, slim, [first_block(net)])

    def loss(number):
        return (pairs[0].logs - torch.linspace(-1.0, 1.0, 5)).square().sum() + slim(X).square().sum()

    assert refine(task(net, slim), Objective(loss, 4, 1, 50, tuple(pairs))).helped
    counts = slim[0].output_multiplicities
    assert float(counts.sum()) == pytest.approx(12.0)
    assert float(counts[-1]) > 1.1 * float(counts[0])
    assert torch.equal(counts, slim[2].input_multiplicities)


def test_progress_is_told_and_an_interrupt_puts_tensors_back(net):
    slim, told = copy.deepcopy(net), []
    before = copy.deepcopy(slim)

    def progress(name, done, total):
        told.append((name, done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        refine(task(net, slim, progress=progress), outputs_of(slim, net(X).detach() + 1.0))
    assert told == [("joint refinement", done, 50) for done in (1, 2, 3)]
    assert torch.equal(slim[0].weight, before[0].weight)


def test_tensors_are_put_back_after_an_error_only():
    tensor = torch.zeros(2)
    with put_back_on_error([tensor]):
        tensor.add_(1.0)
    assert tensor.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="stopped"):
        fails(tensor)
    assert tensor.tolist() == [1.0, 1.0]


def fails(tensor):
    with put_back_on_error([tensor]):
        tensor.add_(1.0)
        raise ValueError("stopped")


def test_layers_are_those_that_make_normalise_and_read():
    net = convolutions(norms=True)
    blocks = list(find_blocks(net, images(1, 2)))
    assert layers_of(blocks) == ["0", "1", "3", "4", "8"]
    assert len(free_parameters(net, blocks)) == 10
    assert all(needs_whole(block) for block in blocks)


def test_plain_neurons_can_be_fitted_alone(net):
    assert not needs_whole(first_block(net))
