import pytest
import torch

from jlab_compress.core.polynomials import count_functions, exponents, importance
from jlab_compress.core.sizing import (
    Sizing,
    check_request,
    choose_functions,
    fitted_degrees,
    fixed_sizing,
    sizings_to_try,
)


@pytest.mark.parametrize(
    ("asked", "sizing"),
    [
        ({"degree": 3}, Sizing(1, 3)),
        ({"degree": 3, "cells": 5}, Sizing(5, 3)),
        ({"degree": 3, "move": True}, Sizing(1, 3, None, True)),
        ({"size": 40, "degree": 2}, Sizing(6, 2)),  # six cells of six moments
        ({"size": 12, "degree": 9}, Sizing(1, 3)),  # degree 4 would take fifteen objects
        ({"size": 40, "cells": 4}, Sizing(4, 3)),  # ten moments each
        ({"size": 40, "cells": 4, "move": True}, Sizing(4, None, 10, True)),
        ({"size": 40, "degree": 5, "move": True}, Sizing(1, 5, 40, True)),
    ],
)
def test_a_degree_or_a_number_of_cells_is_kept_as_far_as_the_size_allows(asked, sizing):
    given = {"size": None, "degree": None, "cells": None, "move": False, **asked}
    assert fixed_sizing(2, **given) == sizing


def test_more_and_more_cells_are_tried_and_no_cell_is_too_expensive():
    assert [s.cells for s in sizings_to_try(100)] == [1, 2, 4, 8, 16]
    assert [s.cells for s in sizings_to_try(3)] == [1, 2]
    for size in (50, 1000, 5000):
        for sizing in sizings_to_try(size):
            assert sizing.cells * sizing.size <= size
            assert sizing.size <= 1000


@pytest.mark.parametrize("dimension", [1, 2, 4, 10])
def test_three_quarters_of_the_objects_pay_for_exact_moments(dimension):
    for size in (1, 5, 30, 300):
        exact, fitted = fitted_degrees(dimension, size)
        assert exact <= fitted
        assert count_functions(dimension, exact) <= max(1, 0.75 * size)
        assert count_functions(dimension, exact + 1) > 0.75 * size


def test_the_functions_looked_at_are_the_exact_ones_and_the_most_important_of_the_others():
    chosen, target = choose_functions(3, 40)
    exact, fitted = fitted_degrees(3, 40)
    assert target.size == 40
    assert target.exact == count_functions(3, exact)
    assert chosen[: target.exact].tolist() == list(range(target.exact))
    rest, weight = chosen[target.exact :], importance(3, fitted)
    assert len(target.importance) == len(rest) == len(chosen) - target.exact
    left_out = torch.tensor(sorted(set(range(len(weight))) - set(chosen.tolist())))
    assert float(weight[rest].min()) >= float(weight[left_out].max())
    assert int(exponents(3, fitted)[chosen].sum(1).max()) == fitted


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ({}, ValueError, "neither size nor degree"),
        ({"size": True}, TypeError, "size: expected a whole number"),
        ({"size": 0}, ValueError, "size: expected at least 1"),
        ({"size": 51}, ValueError, "size: expected at most the 50 objects"),
        ({"degree": -1}, ValueError, "degree: expected at least 0"),
        ({"degree": 1, "cells": 51}, ValueError, "cells: expected at most 50, got 51"),
    ],
)
def test_requests_that_contradict_themselves_are_refused(asked, kind, message):
    with pytest.raises(kind, match=message):
        check_request(50, **{"size": None, "degree": None, "cells": None, **asked})


def test_a_sound_request_passes():
    check_request(50, size=50, degree=0, cells=50)
