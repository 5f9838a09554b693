import pytest
import torch

from jlab_compress.fitting.together import move_together


def quadratic(x, centre):
    return lambda number: (x - centre[number]).square().sum()


def test_the_mean_of_the_batches_is_found():
    x = torch.full((3,), 5.0, requires_grad=True)
    centre = [torch.full((3,), value) for value in (3.9, 4.1, 4.0, 4.0)]
    course = move_together([x], quadratic(x, centre), range(3), [3], seed=1)
    assert course.helped
    assert course.after < 0.2 * course.before
    assert x.detach().tolist() == pytest.approx([4.0] * 3, abs=0.2)


def test_nothing_moves_where_the_held_out_batches_say_no():
    x = torch.full((3,), 5.0, requires_grad=True)
    before = x.detach().clone()
    centre = [torch.full((3,), 4.0), torch.full((3,), 5.1)]
    course = move_together([x], quadratic(x, centre), [0], [1])
    assert not course.helped
    assert torch.equal(x.detach(), before)


def test_same_seed_same_bits_and_no_trace_in_the_generator():
    state = torch.get_rng_state()
    results = []
    for _ in range(2):
        x = torch.full((3,), 5.0, requires_grad=True)
        move_together(
            [x],
            quadratic(x, [torch.rand(3, generator=torch.Generator().manual_seed(i)) for i in range(4)]),
            range(4),
            [0],
            seed=3,
        )
        results.append(x.detach())
    assert torch.equal(*results)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_step_is_told_and_an_interrupt_passes_through():
    x = torch.ones(1, requires_grad=True)
    seen = []
    move_together([x], quadratic(x, [torch.zeros(1)]), [0], [0], progress=lambda *at: seen.append(at))
    assert seen == [(i + 1, 10) for i in range(10)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="^$"):
        move_together([x], quadratic(x, [torch.zeros(1)]), [0], [0], progress=stop)
