"""What someone else's error says, and what our own carry."""

import pytest

from jlab_compress.errors import RecombinationError, UnsupportedBlockError, in_words


def test_someone_elses_error_fits_into_one_line():
    assert in_words(ValueError("first\nsecond")) == "ValueError: first"
    assert in_words(KeyError()) == "KeyError: "
    assert len(in_words(ValueError("long " * 100))) == 200


def test_a_failed_recombination_carries_its_residual():
    with pytest.raises(RuntimeError, match="moments differ") as caught:
        raise RecombinationError("moments differ", 0.5)
    assert caught.value.residual == 0.5


def test_an_unsupported_block_is_a_value_error():
    assert issubclass(UnsupportedBlockError, ValueError)
