import random

import numpy as np
import pytest
import torch

from jlab_compress.execution.randomness import check_seed, gpus_in_use, random_states_kept, seed_everything


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_equal_seeds_give_equal_numbers_of_all_three_generators():
    with random_states_kept():
        seed_everything(3)
        first = draws()
        seed_everything(3)
        assert draws() == first
        seed_everything(4)
        assert not set(draws()) & set(first)


def test_random_states_are_put_back_after_an_error_too():
    with random_states_kept():
        seed_everything(5)
        expected = draws()
        seed_everything(5)
        with pytest.raises(ValueError, match="stopped"):
            fails_after_drawing()
        assert draws() == expected


@random_states_kept()
def fails_after_drawing():
    draws()
    raise ValueError("stopped")


def test_asking_for_gpus_does_not_wake_them():
    assert torch.cuda.is_initialized() == bool(gpus_in_use())


@pytest.mark.parametrize(
    ("seed", "kind", "words"),
    [
        (1.0, TypeError, "expected a whole number such as 0, got 1.0"),
        (True, TypeError, "expected a whole number such as 0, got True"),
        (-1, ValueError, "from 0 to 2.*, got -1"),
        (2**32, ValueError, "from 0 to 2.*, got 4294967296"),
    ],
)
def test_what_is_no_seed_is_refused(seed, kind, words):
    with pytest.raises(kind, match=words):
        check_seed(seed)
    check_seed(2**32 - 1)
