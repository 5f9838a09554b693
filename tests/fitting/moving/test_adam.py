import pytest
import torch

from jlab_compress.fitting.aims.function import fit_subset, fit_weighted_subset, with_shared_mass
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.adam import minimize


def quadratic(x, centre):
    return lambda number: (x - centre[number]).square().sum()


def test_the_mean_of_the_batches_is_found():
    x = torch.full((3,), 5.0, requires_grad=True)
    centre = [torch.full((3,), value) for value in (3.9, 4.1, 4.0, 4.0)]
    result = minimize([x], quadratic(x, centre), [0, 1, 2] * 3, [3], seed=1)
    assert result.helped
    assert result.after < 0.2 * result.before
    assert x.detach().tolist() == pytest.approx([4.0] * 3, abs=0.3)


def test_nothing_moves_where_the_held_out_batches_say_no():
    x = torch.full((3,), 5.0, requires_grad=True)
    before = x.detach().clone()
    centre = [torch.full((3,), 4.0), torch.full((3,), 5.1)]
    result = minimize([x], quadratic(x, centre), [0], [1])
    assert not result.helped
    assert torch.equal(x.detach(), before)


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
            seed=3,
        )
        results.append(x.detach())
    assert torch.equal(*results)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_step_is_told_and_an_interrupt_passes_through():
    x = torch.ones(1, requires_grad=True)
    seen = []
    minimize([x], quadratic(x, [torch.zeros(1)]), [0], [0], progress=lambda *at: seen.append(at))
    assert seen == [(i + 1, 10) for i in range(10)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        minimize([x], quadratic(x, [torch.zeros(1)]), [0], [0], progress=stop)


def test_counting_alike_keeps_the_function_and_the_mass():
    wide = Layer((torch.randn(12, 3),), (None,), torch.randn(12, 2), None, torch.ones(12), torch.tanh)
    slim = wide.select(torch.arange(4), torch.tensor([1.0, 2.0, 3.0, 6.0]))
    counted = with_shared_mass(slim, wide)
    x = torch.randn(7, 3)
    assert torch.allclose(counted(x), slim(x), atol=1e-6)
    assert counted.multiplicities.tolist() == [3.0] * 4
    assert not torch.allclose(slim.select(torch.arange(4), torch.full((4,), 3.0))(x), slim(x), atol=1e-2)


def test_a_counted_fit_has_the_function_of_a_refit_and_is_not_judged_alone():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(80, 3, generator=generator)
    wide = Layer(
        (torch.randn(16, 3, generator=generator),),
        (None,),
        torch.randn(16, 2, generator=generator),
        None,
        torch.ones(16),
        torch.tanh,
    )
    counted, plain = fit_weighted_subset(wide, FitRows(rows), 6), fit_subset(wide, FitRows(rows), 6)
    assert torch.allclose(counted.layer(rows), plain.layer(rows), atol=1e-5)
    assert counted.layer.multiplicities.tolist() == pytest.approx([16 / 6] * 6)
    assert counted.trains_alike is None
