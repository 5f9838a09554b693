import math

import pytest
import torch

from jlab_compress.fitting.criteria import (
    KERNEL_ERROR_LIMIT,
    TRAINING_GAP_LIMIT,
    Criterion,
    training_criteria,
    trains_alike,
    usability,
)
from jlab_compress.fitting.fit import Fit
from tests.fitting.problems import dense


@pytest.mark.parametrize(
    ("gap", "error", "alike"),
    [
        (0.24, 0.49, True),
        (0.26, 0.49, False),
        (0.24, 0.51, False),
        (TRAINING_GAP_LIMIT, 0.0, False),
        (0.0, KERNEL_ERROR_LIMIT, False),
        (math.nan, 0.0, False),
        (0.24, None, True),
        (0.26, None, False),
        (None, 0.24, True),
        (None, 0.26, False),
    ],
)
def test_every_measure_that_is_there_must_be_below_its_limit(gap, error, alike):
    assert trains_alike(training_criteria(training_gap=gap, kernel_error=error)) is alike


def test_nothing_measured_is_no_verdict():
    assert training_criteria() == ()
    assert trains_alike(()) is None


def test_without_a_training_the_kernel_is_held_against_the_limit_of_the_gap():
    (alone,) = training_criteria(kernel_error=0.3)
    assert alone == Criterion("tangent kernel error", 0.3, TRAINING_GAP_LIMIT)
    _, beside = training_criteria(training_gap=0.1, kernel_error=0.3)
    assert beside == Criterion("tangent kernel error", 0.3, KERNEL_ERROR_LIMIT)


def test_the_words_name_measure_value_and_limit():
    words = [str(c) for c in training_criteria(training_gap=0.1, kernel_error=0.2)]
    assert words == ["training gap 0.100 (limit 0.25)", "tangent kernel error 0.200 (limit 0.5)"]


def test_a_fit_says_what_its_criteria_say():
    def made(criteria):
        return Fit(dense(3), torch.arange(3), "kept", 0.0, criteria=criteria).trains_alike

    assert made(()) is None
    assert made(training_criteria(training_gap=0.1)) is True
    assert made(training_criteria(training_gap=0.1, kernel_error=0.9)) is False


@pytest.mark.parametrize(
    ("gap", "alike", "answer", "start"),
    [
        (0.02, True, "as it is", "Usable as it is, "),
        (0.02, False, "only without training", "Usable only without training: it would not train like"),
        (0.02, None, "only without training", "Usable only without training: nobody looked."),
        (0.31, True, "no", "Not usable as it is: its outputs are off the original's by 0.31 of their size."),
        (math.nan, None, "no", "Not usable as it is"),
        (math.inf, False, "no", "Not usable as it is"),
    ],
)
def test_a_reader_is_told_first_whether_the_slim_model_is_usable(gap, alike, answer, start):
    found = usability(gap, alike, unknown="nobody looked")
    assert found.answer == answer
    assert found.sentence.startswith(start)
