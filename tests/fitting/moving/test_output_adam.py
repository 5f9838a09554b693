import pytest
import torch
from torch.nn.functional import layer_norm

from jlab_compress.fitting.moving.output_adam import move_by_adam
from jlab_compress.fitting.post_norm import PostNormMap
from tests.fitting.problems import dense, draw, same_bits

X, STREAM = draw(300, 5), draw(300, 3, seed=4)
ROWS = torch.arange(300)


def norm(values):
    return layer_norm(values, (3,))


def error(slim, goal, post_norm):
    return float((post_norm(slim(X), ROWS) - goal).square().mean())


@pytest.mark.parametrize(
    "post_norm",
    [PostNormMap(), PostNormMap(STREAM), PostNormMap(STREAM, norm)],
    ids=["bare", "stream", "norm"],
)
def test_steps_lower_the_error_behind_the_norm(post_norm):
    wide = dense(40, activation=torch.tanh)
    goal, start = post_norm(wide(X), ROWS), wide.select(torch.arange(10))
    moved = move_by_adam(start, X, goal, post_norm, steps=150)
    assert error(moved, goal, post_norm) < 0.3 * error(start, goal, post_norm)
    assert moved.multiplicities.tolist() == [1.0] * 10


def test_a_shift_of_the_outputs_is_met_by_the_bias_alone_where_there_is_one():
    wide, bare = dense(10), PostNormMap()
    goal = wide(X) + 0.5
    moved = move_by_adam(wide, X, goal, bare, steps=200)
    assert error(moved, goal, bare) < 0.05 * error(wide, goal, bare)
    unbiased = type(wide)(
        wide.incoming, wide.biases, wide.outgoing, None, wide.multiplicities, wide.activation, biased=False
    )
    assert move_by_adam(unbiased, X, goal, bare, steps=3).outgoing_bias is None


def test_what_is_right_stays_nearly_where_it_is():
    layer = dense(10, activation=torch.tanh)
    moved = move_by_adam(layer, X, layer(X), PostNormMap(), steps=20)
    assert error(moved, layer(X), PostNormMap()) < 1e-4 * float(layer(X).square().mean())
    assert error(moved, layer(X) + 0.1, PostNormMap()) > 1e-3


def test_same_seed_same_bits_and_every_step_is_counted():
    layer, seen, state = dense(10), [], torch.get_rng_state()
    goal = layer(X) + 0.5
    one, same, other = (
        move_by_adam(layer, X, goal, PostNormMap(), steps=4, seed=s, progress=lambda: seen.append(1))
        for s in (1, 1, 2)
    )
    assert len(seen) == 12
    assert same_bits(one, same)
    assert not same_bits(one, other)
    assert torch.equal(torch.get_rng_state(), state)
