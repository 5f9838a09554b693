import math

import pytest
import torch

from jlab_compress.fitting.moving.adam import minimize, rate_share


def quadratic(x, centre):
    return lambda number: (x - centre[number]).square().sum()


def test_the_mean_of_the_batches_is_found():
    x = torch.full((3,), 5.0, requires_grad=True)
    centre = [torch.full((3,), value) for value in (3.9, 4.1, 4.0, 4.0)]
    result = minimize([x], quadratic(x, centre), [0, 1, 2] * 3, [3], steps=90, seed=1)
    assert result.helped
    assert result.after < 0.2 * result.before
    assert x.detach().tolist() == pytest.approx([4.0] * 3, abs=0.3)


def test_nothing_moves_where_the_held_out_batches_say_no():
    x = torch.full((3,), 5.0, requires_grad=True)
    before = x.detach().clone()
    centre = [torch.full((3,), 4.0), torch.full((3,), 5.1)]
    result = minimize([x], quadratic(x, centre), [0], [1], steps=10)
    assert not result.helped
    assert torch.equal(x.detach(), before)


def test_logarithms_move_at_a_rate_of_their_own():
    weight, log = torch.full((2,), 1.0, requires_grad=True), torch.zeros(1, requires_grad=True)
    result = minimize(
        [weight], lambda number: (log - 1).square().sum() + weight.sum() * 0, [0], [0], logs=[log], steps=100
    )
    assert result.helped
    assert float(log.detach()) == pytest.approx(1, abs=0.2)
    assert weight.detach().tolist() == [1.0, 1.0]


def test_a_loss_without_gradients_leaves_all_as_it_was():
    x = torch.ones(2, requires_grad=True)
    assert not minimize([x], lambda number: torch.tensor(3.0), [0], [0], steps=5).helped
    assert x.detach().tolist() == [1.0, 1.0]


def test_same_seed_same_bits_and_no_trace_in_the_generator():
    state = torch.get_rng_state()
    results = []
    for _ in range(2):
        x = torch.full((3,), 5.0, requires_grad=True)
        minimize(
            [x],
            quadratic(x, [torch.rand(3, generator=torch.Generator().manual_seed(i)) for i in range(4)]),
            range(4),
            [0],
            steps=10,
            seed=3,
        )
        results.append(x.detach())
    assert torch.equal(*results)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_step_is_told_and_an_interrupt_passes_through():
    x = torch.ones(1, requires_grad=True)
    seen = []
    minimize([x], quadratic(x, [torch.zeros(1)]), [0], [0], steps=10, progress=lambda *at: seen.append(at))
    assert seen == [(i + 1, 10) for i in range(10)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        minimize([x], quadratic(x, [torch.zeros(1)]), [0], [0], steps=10, progress=stop)


def test_the_rate_falls_as_a_cosine_to_nothing():
    shares = [rate_share(step, 100) for step in range(100)]
    assert shares[0] == 1.0
    assert shares[50] == pytest.approx(0.5)
    assert shares == sorted(shares, reverse=True)
    assert shares[99] < 0.001


def test_with_a_warm_up_it_rises_first():
    shares = [rate_share(step, 100, warm_up=0.1) for step in range(100)]
    assert shares[:10] == sorted(shares[:10])
    assert shares[0] == pytest.approx(0.1)
    assert shares[10:] == [rate_share(step, 100) for step in range(10, 100)]
    assert math.isclose(shares[9], rate_share(9, 100))
