"""Models in lock step: same batches, same random state, honest records."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.execution.isolation import copy_model
from jlab_compress.validation.measures.curve import (
    FUNCTION_GAP,
    HELD_OUT_LOSS,
    MEASURES,
    METRIC,
    MOVEMENT,
    TRAINING_GAP,
)
from jlab_compress.validation.training.contest import Contest
from jlab_compress.validation.training.side_by_side import train_side_by_side
from jlab_compress.validation.training.steps import default_step


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05)


def contest(pool, /, **changes):
    given = {"batches": tuple(pool[:9]), "held_out": tuple(pool[9:])}
    given |= {"step": default_step(F.mse_loss), "optimizer": sgd, "loss_fn": F.mse_loss}
    return Contest(**(given | changes))


def test_an_exact_slim_model_stays_with_its_original(make_pair, batches):
    wide, slim = make_pair()
    curves = train_side_by_side({"original": wide, "slim": slim}, contest(batches), seed=0, steps=50)
    assert curves["original"].of(MOVEMENT)[-1] > 0.1
    assert max(curves["slim"].of(TRAINING_GAP)) < 1e-12
    assert max(curves["slim"].of(FUNCTION_GAP)) < 1e-12
    assert curves["slim"].losses == pytest.approx(curves["original"].losses, rel=1e-12)


def test_a_slim_model_without_its_multiplicities_does_not(make_pair, batches):
    wide, slim = make_pair()
    broken = copy_model(slim)
    broken[0].output_multiplicities.fill_(1.0)
    curves = train_side_by_side({"original": wide, "slim": broken}, contest(batches), seed=0, steps=50)
    assert curves["slim"].of(FUNCTION_GAP)[0] < 1e-12
    assert curves["slim"].of(TRAINING_GAP)[-1] > 0.01


def test_another_order_moves_the_original_elsewhere_and_the_same_order_does_not(make_pair, batches):
    models = {name: make_pair()[0] for name in ("original", "again", "another batch order")}
    curves = train_side_by_side(models, contest(batches), seed=3, steps=7)
    assert curves["again"].of(TRAINING_GAP)[-1] == 0.0
    assert curves["another batch order"].of(TRAINING_GAP)[-1] > 1e-3


def test_dropout_draws_the_same_for_equal_models(batches):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 2)).double()
    models = {"original": net, "again": copy_model(net)}
    curves = train_side_by_side(models, contest(batches), seed=0, steps=5)
    assert curves["again"].losses == curves["original"].losses


def test_records_begin_at_zero_and_end_at_the_last_step(make_pair, batches):
    wide, slim = make_pair()
    curve = train_side_by_side({"original": wide, "slim": slim}, contest(batches), seed=0, steps=37)["slim"]
    assert curve.recorded[:11] == tuple(range(11))
    assert curve.recorded[-1] == 37
    assert len(curve.losses) == 37
    assert set(curve.values) == {m.name for m in MEASURES if m is not METRIC}
    assert {len(values) for values in curve.values.values()} == {len(curve.recorded)}


def test_held_out_values_are_those_of_all_rows(make_pair, batches):
    wide, _ = make_pair()
    inputs, targets = (torch.cat(parts) for parts in zip(*batches[9:], strict=True))
    expected = F.mse_loss(wide(inputs), targets).item()
    uneven = ((inputs[:5], targets[:5]), (inputs[5:], targets[5:]))
    given = Contest(tuple(batches), uneven, default_step(F.mse_loss), sgd, F.mse_loss, F.l1_loss)
    curve = train_side_by_side({"original": wide}, given, seed=0, steps=1)["original"]
    assert curve.of(HELD_OUT_LOSS)[0] == pytest.approx(expected, rel=1e-12)
    assert len(curve.of(METRIC)) == 2


def test_a_time_budget_ends_and_gives_all_models_equal_steps(make_pair, batches):
    wide, slim = make_pair()
    models = {"original": wide, "slim": slim}
    curves = train_side_by_side(models, contest(batches), seed=0, seconds=0.05)
    assert len(curves["slim"].losses) == len(curves["original"].losses) >= 1


def test_lbfgs_gets_its_closure(make_pair, batches):
    wide, _ = make_pair()
    given = contest(batches, batches=tuple(batches[:1]), optimizer=lambda p: torch.optim.LBFGS(p, lr=0.5))
    curve = train_side_by_side({"original": wide}, given, seed=0, steps=4)["original"]
    assert curve.losses[-1] < 0.5 * curve.losses[0]


@pytest.mark.parametrize("argument", ["held_out", "loss_fn", "metric"])
def test_what_the_original_gives_on_held_out_data_is_finite(make_pair, batches, argument):
    wide, slim = make_pair()
    held = tuple((x.clone(), y.clone()) for x, y in batches[9:])
    given = contest(
        batches, held_out=held, metric=lambda outputs, _: math.nan if argument == "metric" else 1.0
    )
    if argument != "metric":
        held[1][argument == "loss_fn"][3] = math.nan
    with pytest.raises(ValueError, match=f"^{argument}: expected finite values .* 'original' after 0 steps"):
        train_side_by_side({"original": wide, "slim": slim}, given, seed=0, steps=2)


def test_another_model_may_diverge_and_the_original_may_not(make_pair, batches):
    class Fragile(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.calls = model, 0

        def forward(self, x):
            self.calls += self.training
            return self.model(x) * (math.nan if self.calls > 3 else 1.0)

    wide, slim = make_pair()
    curves = train_side_by_side({"original": wide, "slim": Fragile(slim)}, contest(batches), seed=0, steps=6)
    assert curves["slim"].diverged_at == 3
    assert curves["slim"].of(TRAINING_GAP)[-1] == math.inf
    with pytest.raises(
        ValueError, match="expected a finite number, got nan for the model 'original' at step 3"
    ):
        train_side_by_side({"original": Fragile(wide)}, contest(batches), seed=0, steps=6)
