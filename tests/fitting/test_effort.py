import dataclasses

import pytest

from jlab_compress.fitting.effort import NORMAL, QUICK, THOROUGH, Effort, read_effort, step_counter


def test_names_are_read_and_efforts_pass():
    own = Effort(node_steps=7)
    assert [read_effort(e) for e in ("quick", "normal", "thorough", own)] == [QUICK, NORMAL, THOROUGH, own]


@pytest.mark.parametrize("wrong", ["fast", None, 3, [1]])
def test_anything_else_is_refused_in_one_sentence(wrong):
    with pytest.raises(ValueError, match='effort: expected "quick", "normal", "thorough" or an Effort, got'):
        read_effort(wrong)


def test_every_budget_grows_from_quick_to_thorough():
    budgets = [dataclasses.astuple(effort) for effort in (QUICK, NORMAL, THOROUGH)]
    for quick, normal, thorough in zip(*budgets, strict=True):
        assert quick <= normal <= thorough


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Effort)])
@pytest.mark.parametrize("wrong", [0, -1])
def test_a_budget_that_is_not_positive_is_refused(field, wrong):
    with pytest.raises(ValueError, match=f"^Effort: {field} must be positive and finite; got"):
        Effort(**{field: wrong})


@pytest.mark.parametrize("wrong", ["9", None, True, 2.5, float("nan"), float("inf")])
def test_what_is_no_budget_is_refused(wrong):
    with pytest.raises(TypeError, match=r"^Effort: node_steps must be a whole number such as 1000; got"):
        Effort(node_steps=wrong)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_floating_point_operations_are_finite(wrong):
    assert Effort(projection_flops=10**9).projection_flops == 1e9
    with pytest.raises(ValueError, match=r"^Effort: projection_flops must be positive and finite; got"):
        Effort(projection_flops=wrong)
    with pytest.raises(TypeError, match=r"^Effort: projection_flops must be a number such as"):
        Effort(projection_flops="many")


def test_an_effort_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError, match="node_steps"):
        NORMAL.node_steps = 3


def test_steps_are_counted_up_to_the_total_and_never_above():
    seen = []
    count = step_counter(lambda *at: seen.append(at), 2)
    for _ in range(3):
        count()
    assert seen == [(1, 2), (2, 2), (2, 2)]
    step_counter(None, 2)()
