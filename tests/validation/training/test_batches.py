"""Batches are read once, as pairs, and drawn pass after pass."""

from itertools import islice

import pytest
import torch

from jlab_compress.validation.training.batches import draw_order, materialise, materialise_held_out

X, Y = torch.ones(4, 2), torch.zeros(4)


def same(found, expected):
    pairs = zip(found, expected, strict=True)
    return all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in pairs)


def test_a_generator_is_read_once_and_no_further_than_asked():
    read = []

    def loader():
        for number in range(100):
            read.append(number)
            yield number, -number

    assert materialise(loader(), 3) == ((0, 0), (1, -1), (2, -2))
    assert read == [0, 1, 2]


def test_a_pair_may_be_a_list():
    assert same(materialise([[X, Y]]), [(X, Y)])


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (X, TypeError, "held: expected an iterable of .* got Tensor; wrap one batch in a list"),
        ("text", TypeError, "got str"),
        ([], ValueError, "held: expected at least one .* is the loader empty"),
        ([(X, Y, X)], ValueError, "a pair .* got tuple of 3"),
        ([3], ValueError, "got int"),
    ],
)
def test_what_is_no_iterable_of_pairs_is_refused(given, error, words):
    with pytest.raises(error, match=words):
        materialise(given, argument="held")


def test_held_out_data_is_one_pair_or_several():
    assert same(materialise_held_out((X, Y)), [(X, Y)])
    assert same(materialise_held_out([(X, Y), (Y, X)]), [(X, Y), (Y, X)])
    assert same(materialise_held_out(((X, Y), (Y, X))), [(X, Y), (Y, X)])


def test_each_pass_has_every_batch_once_in_an_order_of_its_own():
    order = draw_order(5, seed=3)
    first, second = list(islice(order, 5)), list(islice(order, 5))
    assert sorted(first) == sorted(second) == list(range(5))
    assert first != second
    assert list(islice(draw_order(5, seed=3), 10)) == first + second
    assert list(islice(draw_order(5, seed=4), 10)) != first + second
