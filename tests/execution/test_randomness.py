import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from jlab_compress.execution.randomness import check_seed, gpus_in_use, seed_everything
from jlab_compress.surroundings import random_states_kept


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


def random_states_in(source):
    return re.findall(r"fork_rng|random\.[gs]et_state|random\.[gs]etstate|[gs]et_rng_state", source)


def test_random_states_are_kept_in_one_file_only():
    package = Path(__file__).parents[2] / "jlab_compress"
    found = {p.name for p in package.rglob("*.py") if random_states_in(p.read_text())}
    assert found == {"surroundings.py"}
    assert random_states_in("with torch.random.fork_rng():") == ["fork_rng"]
    assert random_states_in("np.random.set_state(state)") == ["random.set_state"]
    assert not random_states_in("with random_states_kept():")


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
