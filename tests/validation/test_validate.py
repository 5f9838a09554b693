"""validate from end to end: exact pairs, each verdict, references, interrupts, bad input."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.compression.pipeline import shrink
from jlab_compress.compression.prepare import prepare
from jlab_compress.execution.isolation import copy_model
from jlab_compress.validation.measures.curve import FUNCTION_GAP, HELD_OUT_LOSS
from jlab_compress.validation.report import plots
from jlab_compress.validation.validate import judge_curves, validate
from tests.quick import X
from tests.validation.untouched import assert_untouched, snapshot
from tests.watched import Watched

PICTURED = "test_references_stand_beside_the_slim_model"


@pytest.fixture(autouse=True)
def without_pictures(request, monkeypatch):
    """Pictures have tests of their own; drawing them takes most of a short run."""
    if request.node.name != PICTURED:
        monkeypatch.setattr(plots, "pictures", lambda *_: ())


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.5)


def run(wide, slim, batches, **changes):
    given = {"optimizer": sgd, "steps": 30, "held_out": batches[9:], "progress": False}
    given |= {"references": ("another batch order",), "loss_fn": F.mse_loss}
    return validate(wide, slim, batches[:9], **(given | changes))


def test_an_exact_slim_model_trains_alike(make_pair, batches):
    wide, slim = make_pair()
    found = run(wide, slim, batches)
    assert found.verdict.label == "trains alike"
    assert found.function_gap < 1e-12
    assert found.training_gap < 1e-9
    assert found.noise_floor > 1e-3
    assert "Trains alike" in found.report.summary


def test_a_folded_gauge_is_caught(make_pair, batches):
    """The function is equal, the training is not: c folded into the outgoing weights."""
    wide, slim = make_pair()
    broken = copy_model(slim)
    broken[2].weight_of_one.data *= broken[2].input_multiplicities
    broken[2].input_multiplicities.fill_(1.0)
    broken[0].output_multiplicities.fill_(1.0)
    found = run(wide, broken, batches, steps=90, optimizer=lambda p: torch.optim.SGD(p, lr=0.01))
    assert found.function_gap < 1e-12
    assert found.training_gap > 0.05
    assert found.verdict.label == "differs"


def test_nobody_can_tell_when_nothing_moves(make_pair, batches):
    wide, slim = make_pair()
    found = run(wide, slim, batches, optimizer=lambda p: torch.optim.SGD(p, lr=1e-14))
    assert found.verdict.label == "cannot tell"
    assert "hardly moves on these batches" in found.verdict.reason


def learnt(wide, batches, noise=0.0):
    """Return batches whose targets the model meets already, but for some noise."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        answers = [(x, wide(x)) for x, _ in batches]
    return [(x, y + noise * torch.randn(y.shape, generator=generator).double()) for x, y in answers]


def test_nobody_can_tell_where_nothing_is_left_to_learn(make_pair, batches):
    """The slim model is off by a little and goes back; the original has no reason to go anywhere."""
    wide, slim = make_pair()
    with torch.no_grad():
        slim[2].weight_of_one.mul_(1.02)
    found = run(wide, slim, learnt(wide, batches, noise=1e-3))
    assert min(run["original"].losses[-1] for run in found.curves) < 1e-5
    assert max(run["original"].movements[-1] for run in found.curves) < 0.01
    assert found.training_gap > 1
    assert found.verdict.label == "cannot tell"
    assert "the original hardly moves on these batches" in found.report.summary
    assert found.report.summary.startswith("Usable only without training: whether it trains like the ")
    told = run(wide, slim, batches).verdict
    assert "hardly moves" not in told.reason


class Normed(nn.Module):
    """Its outputs move in training mode by running statistics alone."""

    def __init__(self, net):
        super().__init__()
        self.norm, self.net = nn.BatchNorm1d(3).double(), net

    def forward(self, x):
        return self.net(self.norm(x))


def test_running_statistics_are_no_training(make_pair, batches):
    net = Normed(make_pair()[0])
    slim = compress_baseline(net, 5, calibration=torch.cat([x for x, _ in batches]), method="random").model
    found = run(net, slim, batches, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    assert found.curves[0]["original"].movements[-1] > 0.01
    assert found.verdict.label == "cannot tell"
    assert "not at all by training" in found.verdict.reason
    assert run(net, slim, batches).verdict.label == "trains alike"


@pytest.mark.parametrize(
    "changes", [{"references": ()}, {"references": ("another batch order",), "batches": 1}]
)
def test_a_gap_without_a_noise_floor_is_judged_where_it_is_plain(make_pair, batches, changes):
    wide, slim = make_pair()
    given = batches[: changes.get("batches", 9)]
    options = {"held_out": batches[9:], "references": changes["references"]}
    assert run(wide, slim, given, **options).verdict.label == "trains alike"
    with torch.no_grad():
        slim[0].output_multiplicities.mul_(1.5)
    found = run(wide, slim, given, **options)
    assert (found.verdict.label, set(found.verdict.floors)) == ("cannot tell", {0.0})
    assert "no noise floor was measured" in found.verdict.reason


def test_a_slim_model_of_the_original_s_widths_is_usable_as_it_is(compressed):
    net, _, inputs, targets = compressed
    slim = compress(net, 48, calibration=inputs, progress=False).model
    pairs = [(inputs[i : i + 20], targets[i : i + 20]) for i in range(0, 240, 20)]
    report = run(net, slim, pairs, steps=5).report
    assert report.facts["usable"] == "as it is"
    assert report.summary.startswith(
        "Usable as it is, and to be trained on. Trains alike over steps 3 to 5: "
    )


def test_a_slim_model_that_is_far_off_is_not_usable_and_the_report_says_how_far_training_helps(compressed):
    net, _, inputs, targets = compressed
    slim = compress_baseline(net, 2, calibration=inputs, method="random").model
    pairs = [(inputs[i : i + 20], targets[i : i + 20]) for i in range(0, 240, 20)]
    found = run(net, slim, pairs, steps=5)
    after = found.curves[0]["slim"].function_gaps[-1] / 2 + found.curves[1]["slim"].function_gaps[-1] / 2
    assert found.report.facts["usable"] == "no"
    assert found.report.summary.startswith(
        f"Not usable as it is: its outputs are off the original's by {found.function_gap:.2g} of their size. "
        f"After training they are off by {after:.2g}. "
    )


@pytest.fixture(scope="module")
def compressed():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 48), nn.Tanh(), nn.Linear(48, 2))
    inputs = torch.randn(240, 3)
    targets = torch.stack([inputs[:, 0] * inputs[:, 1], inputs[:, 2].sin()], -1)
    slim = compress_baseline(net, 12, calibration=inputs, method="k-means").model
    return net, slim, inputs, targets


def test_references_stand_beside_the_slim_model(compressed):
    net, slim, inputs, targets = compressed
    loader = DataLoader(TensorDataset(inputs[:200], targets[:200]), batch_size=20, shuffle=True)
    found = validate(
        net, slim, loader, F.mse_loss, optimizer=sgd, steps=40, progress=False,
        held_out=(inputs[200:], targets[200:]), metric=F.l1_loss,
    )  # fmt: skip
    names = ["original", "slim", "random subset", "function only", "another batch order"]
    assert list(found.curves[0]) == names
    assert [row[0] for row in found.report.tables[0].rows] == names
    facts = found.report.to_dict()["facts"]
    assert facts["training_gap"] == found.training_gap < found.training_gap_random
    assert facts["training_gap_random"] == found.training_gap_random
    assert found.training_gap_function is not None
    assert {"metric_original_after", "metric_slim_before", "noise_floor"} <= set(facts)
    assert "<table" in found._repr_html_()
    assert [figure.title for figure in found.report.figures] == [
        "Loss curves", "Training gap", "Neurons of block 0",
    ]  # fmt: skip


class Scored(nn.Module):
    """Given labels, it returns its loss before its scores, as models for sequence classification do."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, labels=None):
        scores = self.net(x)
        if labels is None:
            return scores
        return {"loss": F.mse_loss(scores, labels), "best": scores.argmax(1), "logits": scores}


def test_a_loss_among_the_outputs_changes_no_result(compressed):
    wide, _, inputs, targets = compressed
    own = Scored(wide)
    slim = compress_baseline(own, 12, calibration=inputs, method="k-means").model
    pairs = [(inputs[i : i + 20], targets[i : i + 20]) for i in range(0, 240, 20)]
    plain = run(own, slim, pairs, steps=5)
    pairs = [({"x": x, "labels": y}, y) for x, y in pairs]
    found = run(own, slim, pairs, steps=5, loss_fn=lambda outputs, _: outputs["loss"])
    assert found.training_gap == pytest.approx(plain.training_gap)
    for name, match in found.after.kernels.items():
        assert match.alignment == pytest.approx(plain.after.kernels[name].alignment)


def test_the_report_says_when_it_was_judged_and_what_the_tolerance_is(make_pair, batches):
    report = run(*make_pair(), batches, steps=7, tolerance=0.07).report
    assert "Trains alike over steps 4 to 7: " in report.summary
    assert any(" medians over the later half of the steps, 4 to 7, seed by seed" in n for n in report.notes)
    assert any(note.startswith("Tolerance: a training gap up to 0.07 ") for note in report.notes)
    assert all(len(table.rows) <= 8 for table in report.tables)


def test_a_random_subset_differs(compressed):
    net, _, inputs, targets = compressed
    slim = compress_baseline(net, 4, calibration=inputs, method="random").model
    batches = [(inputs[i : i + 20], targets[i : i + 20]) for i in range(0, 240, 20)]
    found = run(net, slim, batches, steps=60, seeds=(0, 1, 2))
    assert found.verdict.label == "differs"


def test_own_step_sees_the_pair_and_drives_a_scheduler(make_pair, batches):
    wide, slim = make_pair()

    def step(model, batch, optimizer):
        optimizer.zero_grad()
        for part in (slice(0, 8), slice(8, 16)):
            (F.mse_loss(model(batch[0][part]), batch[1][part]) / 2).backward()
        optimizer.step()
        return F.mse_loss(model(batch[0]), batch[1]).item()

    def scheduled(parameters):
        optimizer = sgd(parameters)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        optimizer.register_step_post_hook(lambda *_: scheduler.step())
        return optimizer

    found = run(wide, slim, batches, step=step, optimizer=scheduled)
    assert found.training_gap < 1e-9
    without_loss = validate(
        wide, slim, batches, step=step, optimizer=sgd, steps=3, progress=False, references=()
    )
    assert without_loss.curves[0]["slim"].of(HELD_OUT_LOSS) == ()


def test_a_time_budget_gives_every_seed_the_same_steps(make_pair, batches):
    found = run(*make_pair(), batches, steps=None, seconds=0.1)
    assert len({len(curve.losses) for one in found.curves for curve in one.values()}) == 1


def test_one_pass_is_the_default_budget(make_pair, batches):
    assert len(run(*make_pair(), batches, steps=None).curves[0]["slim"].losses) == 9


def test_hidden_dropout_and_missing_held_out_data_are_said(make_pair, batches):
    wide, slim = make_pair(nn.Sequential(nn.Tanh(), nn.Dropout(0.1)))
    report = run(wide, slim, batches, held_out=None, steps=4).report
    assert any("Dropout is on (1.1)" in note for note in report.notes)
    assert any("No held-out data" in warning for warning in report.warnings)
    report = run(*make_pair(), batches, steps=4).report
    assert not report.warnings
    assert not any("Dropout" in note for note in report.notes)


@pytest.mark.parametrize("name", ["LBFGS", "Adafactor"])
def test_optimizers_that_cannot_be_exact_are_named(name, make_pair, batches):
    kind = getattr(torch.optim, name)
    report = run(*make_pair(), batches, steps=2, seeds=(0,), optimizer=lambda p: kind(p, 0.01)).report
    assert any(note.startswith(f"{name}: ") for note in report.notes)
    assert not any("exactly" in note for note in run(*make_pair(), batches, steps=2).report.notes)


def test_a_plain_gauge_gets_adams_factors_and_says_so(compressed):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2))
    for parameter in (net[0].weight, net[0].bias):
        parameter.data[8:] = parameter.data[:8]  # eight neurons twice, so that the fit is exact and quick
    _, _, inputs, targets = compressed
    slim = compress(net, 8, calibration=inputs, plain=True, progress=False).model
    batches = [(inputs[i : i + 20], targets[i : i + 20]) for i in range(0, 240, 20)]
    adamw = lambda p: torch.optim.AdamW(p, 1e-3)  # noqa: E731
    found = run(net, slim, batches, optimizer=adamw, steps=3)
    assert any(note.startswith("Plain gauge (0): rates of Adam") for note in found.report.notes)


def test_both_models_and_all_random_states_stay(make_pair, batches):
    wide, slim = make_pair(nn.Sequential(nn.Tanh(), nn.Dropout(0.2)))
    slim[1].eval()
    before = snapshot(wide, slim)
    run(wide, slim, batches, references=("another batch order", "random subset"))
    assert_untouched(before, wide, slim)
    with torch.no_grad():
        slim[0].weight.add_(1)
    with pytest.raises(AssertionError):
        assert_untouched(before, wide, slim)


def test_an_interrupt_passes_and_changes_nothing(make_pair, batches):
    wide, slim = make_pair()
    before, calls = snapshot(wide, slim), []

    def loss_fn(outputs, targets):
        calls.append(1)
        if len(calls) > 25:
            raise KeyboardInterrupt
        return F.mse_loss(outputs, targets)

    with pytest.raises(KeyboardInterrupt):
        validate(wide, slim, batches, loss_fn, optimizer=sgd, steps=90, progress=False, references=())
    assert_untouched(before, wide, slim)


def test_the_verdict_reads_the_later_half_and_not_one_step(make_pair, batches):
    """A gap that is there at all late steps but the last is a gap; one at the last step alone is none."""
    found = run(*make_pair(), batches)
    recorded = found.curves[0]["slim"].recorded
    quiet = tuple(0.0 for _ in recorded)
    for gaps, label in (
        (tuple(0.0 if t < 15 or t == recorded[-1] else 0.9 for t in recorded), "differs"),
        ((*quiet[:-1], 0.9), "trains alike"),
        (tuple(0.9 if t < 15 else 0.0 for t in recorded), "trains alike"),
    ):
        slim = found.curves[0]["slim"]
        slim = replace(slim, values={**slim.values, "training gap": gaps})
        curves = [one | {"slim": slim} for one in found.curves]
        assert judge_curves(curves, 0.05).label == label
    lost = [one | {"slim": replace(one["slim"], diverged_at=29)} for one in found.curves]
    assert judge_curves(lost, 0.05).label == "differs"


def test_the_function_only_reference_of_many_blocks_is_a_quick_one(monkeypatch):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 2))
    inputs = torch.randn(100, 3)
    slim = compress_baseline(net, 8, calibration=inputs, method="k-means").model
    given = [(part, part[:, :2]) for part in inputs.split(20)]
    asked = []

    def shrunk(prepared, wanted, aim, settings):
        asked.append(aim.name)
        return shrink(prepared, wanted, aim, settings)

    monkeypatch.setattr("jlab_compress.validation.training.references.shrink", shrunk)
    found = validate(
        net, slim, given, F.mse_loss, optimizer=sgd, steps=4, references=("function only",), progress=False
    )
    assert asked == ["greedy"]
    gaps = {name: curve.of(FUNCTION_GAP)[0] for name, curve in found.curves[0].items()}
    assert gaps["function only"] < gaps["slim"]
    assert any(note.startswith("Function only: greedy selection") for note in found.report.notes)


def test_references_are_fitted_on_one_look_at_the_model(compressed, monkeypatch):
    """The model is prepared once for all seeds and references, or by the caller."""
    net, slim, inputs, targets = compressed
    pairs = [(inputs[i : i + 20], targets[i : i + 20]) for i in range(0, 240, 20)]
    looks = []

    def looked(*arguments, **options):
        looks.append(options)
        return prepare(*arguments, **options)

    monkeypatch.setattr("jlab_compress.validation.training.references.prepare", looked)
    names = ("random subset", "function only")
    first = run(net, slim, pairs, steps=3, references=names, effort="quick")
    assert len(looks) == 1
    prepared = prepare(net, inputs[:180])
    again = run(prepared, slim, pairs, steps=3, references=names, effort="quick")
    assert len(looks) == 1
    gaps = [found.curves[0]["random subset"].of(FUNCTION_GAP) for found in (first, again)]
    assert gaps[0] == gaps[1]
    assert any(note.endswith("on the inputs of the training batches.") for note in first.report.notes)
    assert any(note.endswith("on the calibration.") for note in again.report.notes)
    run(net, slim, pairs, steps=1)
    assert len(looks) == 1  # the original under another batch order needs no fit


def test_another_seed_takes_no_further_memory():
    net = Watched()
    slim = compress_baseline(net, 8, calibration=X, method="magnitude").model
    given = [(part, part[:, :3]) for part in X.split(40)]
    most = []
    for seeds in ((0,), (0, 1), (0, 1, 2)):
        net.looks.most = 0
        run(net, slim, given, steps=1, seeds=seeds, held_out=None)
        most.append(net.looks.most)
    assert most[0] == most[1] == most[2] > 0


def test_a_verdict_needs_no_pictures_and_says_what_is_left_out(make_pair, batches, monkeypatch):
    for package in ("matplotlib", "ot"):
        monkeypatch.setitem(sys.modules, package, None)
    report = run(*make_pair(), batches, steps=4).report
    assert report.figures == ()
    assert not any(table.title.startswith("Neuron clouds") for table in report.tables)
    left_out = [note for note in report.notes if note.startswith("Left out: ")]
    assert [note.split()[2] for note in left_out] == ["matplotlib", "ot"]
    assert all('pip install "jlab-compress[validation]"' in note for note in left_out)
    assert "Trains alike" in report.summary
