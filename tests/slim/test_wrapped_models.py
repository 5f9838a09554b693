"""Compiled, parallel and distributed training of a slim model; each with a twin that breaks the rule."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from jlab_compress.slim.conversion import plan_of
from jlab_compress.training.gradient_sums import clip_grad_norm_
from tests.repeated import STEPS, TOLERANCE, Pair, batch, sgd, train, undivided

WRAPPERS = {
    "compiled": lambda m: torch.compile(m, backend="aot_eager", fullgraph=True),
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": DistributedDataParallel,
}


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def raced(wrapper, prepare=lambda slim: slim, before_step=None):
    pair = Pair()
    train(pair, pair.wide)
    train(pair, WRAPPERS[wrapper](prepare(pair.slim)), before_step=before_step)
    return pair.distance()


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_models_move_like_each_copy(wrapper, one_process):
    assert raced(wrapper) < TOLERANCE


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_twin_undivided_gradients_move_otherwise(wrapper, one_process):
    assert raced(wrapper, undivided) > 1e-3


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_plan_and_the_copies_are_found_through_the_wrapper(wrapper, one_process):
    pair = Pair()
    wrapped = WRAPPERS[wrapper](pair.slim)
    for parameter in pair.slim.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert plan_of(wrapped) is plan_of(pair.slim)
    norm = clip_grad_norm_(pair.slim, 1e9)
    assert norm > clip_grad_norm_(nn.Linear(4, 5), 1e9)
    assert clip_grad_norm_(wrapped, 1e9) == clip_grad_norm_(wrapped.parameters(), 1e9) == norm


def half_batches(rank, folder):
    """Train the slim net and its broken twin on one half of every batch, in one of two processes."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for name, prepare in (("slim", lambda slim: slim), ("broken", undivided)):
        pair = Pair()
        model = DistributedDataParallel(prepare(pair.slim))
        optimizer = sgd(model.parameters())
        for step in range(STEPS):
            x, y = batch(pair, step)
            optimizer.zero_grad()
            F.mse_loss(model(x[rank::2]), y[rank::2]).backward()
            optimizer.step()
        if rank == 0:
            torch.save(pair.slim.state_dict(), f"{folder}/{name}.pt")
    dist.barrier()
    os._exit(0)  # a thread of the process group that outlives the interpreter would abort the process


def test_two_processes_that_share_each_batch(tmp_path):
    processes.spawn(half_batches, (str(tmp_path),), nprocs=2)
    distances = {}
    for name in ("slim", "broken"):
        pair = Pair()
        train(pair, pair.wide)
        pair.slim.load_state_dict(torch.load(tmp_path / f"{name}.pt"), strict=name == "slim")
        distances[name] = pair.distance()
    assert distances["slim"] < TOLERANCE
    assert distances["broken"] > 1e-3
