import copy
import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress import Compression, UnsupportedBlockError, compress_baseline, prepare
from jlab_compress.compression.fits.site import Site
from jlab_compress.fitting.aims import baselines
from jlab_compress.slim.conversion import plan_of
from tests.models import TwoBranches, mlp, rows, seeded
from tests.quick import FAST, X, narrow

compress = partial(jlab_compress.compress, effort=FAST)


def test_compress_returns_a_new_model_with_plan_and_report():
    net = mlp(6, 40, 3)
    result = compress(net, 10, calibration=X, progress=False)
    assert isinstance(result, Compression)
    assert result.model is not net
    assert result.model[0].weight.shape == (10, 6)
    assert result.plan == plan_of(result.model)
    block = result.plan.blocks[0]
    assert (block.name, block.width_before, block.width_after) == ("0", 40, 10)
    facts = result.report.facts
    assert facts["parameters_before"] == 40 * 10 + 3
    assert facts["parameters_after"] == 10 * 10 + 3
    assert (facts["macs_before"], facts["macs_after"]) == (40 * 9, 10 * 9)
    assert "1 block made slimmer" in repr(result)
    assert "<table" in result._repr_html_()


def test_the_function_gap_in_the_report_is_that_of_unseen_rows():
    net = mlp(6, 40, 3)
    result = narrow(net, 10)
    (x,) = prepare(net, X).held[0].args
    with torch.no_grad():
        expected = (result.model(x) - net(x)).norm() / net(x).norm()
    assert result.report.facts["function_gap"] == pytest.approx(float(expected))
    assert len(x) == 12


def test_same_seed_same_bits_and_another_seed_other_bits():
    net = mlp(6, 40, 3)
    first, again, other = (compress(net, 8, calibration=X, seed=seed, progress=False) for seed in (3, 3, 4))
    states = [list(r.model.state_dict().values()) for r in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(states[0], states[2], strict=True))
    assert first.report.to_dict() == again.report.to_dict()


def test_the_original_stays_bit_for_bit():
    net = nn.Sequential(*mlp(6, 40, 3), nn.Dropout(0.5), nn.BatchNorm1d(3, dtype=torch.float64))
    net[0].bias.requires_grad_(False)
    net[3].eval()
    handle = net[1].register_forward_hook(lambda *a: None)
    before = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()], id(net[0].weight)
    state = torch.random.get_rng_state()
    slim = narrow(net, 10).model
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before[0].items())
    assert [m.training for m in net.modules()] == before[1] == [m.training for m in slim.modules()]
    assert id(net[0].weight) == before[2]
    assert list(net[1]._forward_hooks) == [handle.id]
    assert [p.requires_grad for p in slim.parameters()] == [p.requires_grad for p in net.parameters()]
    assert list(slim[1]._forward_hooks) == [handle.id]


def interrupted(*seen):
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    raise KeyboardInterrupt


def test_an_interrupt_leaves_the_model_as_it_was():
    net = mlp(6, 40, 20, 3).train()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(KeyboardInterrupt, match="Stopped: "):
        compress(net, 0.5, calibration=X, progress=interrupted)
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
    assert all(m.training for m in net.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_progress_bar_and_the_notes_name_the_block(capsys):
    found = compress(mlp(6, 40, 3), 8, calibration=X)
    assert "block 0: 1 of 1" in capsys.readouterr().err
    assert any(note.startswith("block 0: ") for note in found.report.notes)
    assert "trains alike" in found.report.tables[0].columns


def test_an_interrupt_anywhere_leaves_the_random_states():
    """Also one that strikes while the states of an inner run are being put back."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    with pytest.raises(KeyboardInterrupt, match="Stopped: "):
        compress(mlp(6, 40, 3), 8, calibration=X, progress=interrupted)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


def test_progress_is_told_block_by_block():
    seen = []
    compress(mlp(6, 40, 20, 3), 0.5, calibration=X, progress=lambda *given: seen.append(given))
    assert list(dict.fromkeys(name for name, _, _ in seen)) == ["0", "2", "joint refinement"]
    assert all(0 < done <= total for _, done, total in seen)
    assert [done for name, done, _ in seen if name == "0"] == sorted(d for n, d, _ in seen if n == "0")


@pytest.mark.parametrize(
    ("calibration", "kind", "words"),
    [
        (rows(0, 6), ValueError, "calibration batch 0: holds an empty tensor"),
        ([], ValueError, "expected at least one batch, got none"),
        (rows(10, 5), ValueError, "the model fails on them .RuntimeError"),
        (
            [rows(10, 6), rows(10, 5)],
            ValueError,
            "calibration batch 1: the model fails on it .RuntimeError",
        ),
        (torch.full((10, 6), torch.inf), ValueError, "batch 0: holds NaN or infinite values"),
        ([rows(10, 6), "text"], TypeError, "not str"),
        (7, TypeError, "got int"),
        (rows(10, 6).numpy(), TypeError, "torch.from_numpy"),
    ],
)
def test_bad_calibration_is_refused_in_one_sentence(calibration, kind, words):
    with pytest.raises(kind, match=words):
        narrow(mlp(6, 40, 3), 5, calibration)


def test_weights_that_are_not_finite_are_refused_by_name():
    net = mlp(6, 40, 3)
    net[2].weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"parameter 2.weight holds NaN"):
        narrow(net, 5)


def test_a_batch_that_is_answered_with_nan_is_named():
    class Bad(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(6, 40, 3)

        def forward(self, x):
            return self.net(x / (x > -2))

    with pytest.raises(
        ValueError, match=r"^calibration batch 0: the model answers it with NaN, so nothing can be compared"
    ):
        narrow(Bad(), 5, rows(500, 6))


def test_a_locked_block_is_refused_with_its_reason():
    net = seeded(TwoBranches, "softmax").double()
    with pytest.raises(UnsupportedBlockError, match=r"block first: it is locked: .*softmax"):
        narrow(net, {"first": 4}, rows(50, 5))
    with pytest.raises(UnsupportedBlockError, match=r"no block can be compressed .first: "):
        narrow(net, 4, rows(50, 5))


def test_what_is_no_module_or_no_known_method_is_refused():
    with pytest.raises(TypeError, match=r"expected a torch.nn.Module, got function"):
        compress(lambda x: x, 4, calibration=X)
    with pytest.raises(ValueError, match="preserve: expected one of"):
        compress(mlp(6, 8, 3), 4, calibration=X, preserve="everything")
    with pytest.raises(ValueError, match="method: expected one of"):
        compress_baseline(mlp(6, 8, 3), 4, calibration=X, method="magic")


@pytest.mark.parametrize(
    ("method", "fit"),
    [
        ("random", baselines.random_subset),
        ("magnitude", baselines.magnitude),
        ("k-means", baselines.kmeans_merge),
        ("greedy", baselines.greedy_refit),
        ("interpolative", baselines.interpolative),
        ("nnls", baselines.nnls_outputs),
    ],
)
def test_a_baseline_is_its_fit_put_in_place(method, fit):
    net = mlp(6, 40, 3)
    prepared = prepare(net, X)
    result = compress_baseline(prepared, 10, method=method, seed=2)
    place = Site(net, net, prepared.blocks[0], prepared.fit)
    expected = fit(place.layer, place.inputs, 10, seed=2)
    with torch.no_grad():
        assert torch.allclose(result.model(X), expected.layer(X))
        assert not torch.allclose(result.model(X), net(X))
    assert (result.plan.preserve, result.plan.blocks[0].method) == (method, expected.method)
    assert result.model[0].out_features == expected.layer.width <= 10


def test_batches_of_inputs_and_targets_use_the_inputs_and_say_so():
    net = mlp(6, 40, 3)
    data = torch.utils.data.TensorDataset(X, torch.zeros(len(X)))
    loader = torch.utils.data.DataLoader(data, batch_size=30, shuffle=True)
    state = torch.random.get_rng_state()
    result = narrow(net, 10, loader)
    assert torch.equal(state, torch.random.get_rng_state())
    assert any("more values per batch" in note for note in result.report.notes)
    assert not any("more values per batch" in note for note in narrow(net, 10).report.notes)


def test_a_later_block_is_fitted_to_what_the_slim_model_sees():
    net = mlp(6, 60, 40, 3, activation=nn.Tanh)
    result = compress(net, {"0": 6, "2": 12}, calibration=rows(400, 6), preserve="function", progress=False)
    apart = [narrow(net, {"0": 6}, rows(400, 6)), narrow(net, {"2": 12}, rows(400, 6))]
    stitched = copy.deepcopy(net)
    stitched[0], stitched[2] = apart[0].model[0], apart[0].model[2]
    assert result.model[2].weight.shape == (12, 6)
    x = rows(300, 6, seed=8)
    with torch.no_grad():
        gap = (result.model(x) - net(x)).norm() / net(x).norm()
        assert gap < 1.2 * (stitched(x) - net(x)).norm() / net(x).norm()


def test_half_precision_is_computed_in_float64_and_cast_back():
    net = mlp(6, 40, 3, dtype=torch.bfloat16)
    result = narrow(net, 10, rows(60, 6, dtype=torch.bfloat16), method="nnls")
    assert {t.dtype for t in result.model.state_dict().values()} == {torch.bfloat16}
    kept = torch.tensor(result.plan.blocks[0].indices)
    assert torch.equal(result.model[0].weight, net[0].weight[kept])


def test_dropout_on_hidden_neurons_is_said():
    net = mlp(6, 40, 3)
    dropped = nn.Sequential(net[0], net[1], nn.Dropout(), net[2])
    assert any("Dropout acts on hidden neurons of 0" in n for n in narrow(dropped, 9).report.notes)
    assert not any("Dropout" in n for n in narrow(net, 9).report.notes)


def test_a_width_that_cannot_work_is_warned_about():
    net = mlp(6, 200, 3)
    warnings = narrow(net, {"0": 2}, method="magnitude").report.warnings
    assert any("not compressible to that width" in words for words in warnings)
    assert not narrow(net, {"0": 199}).report.warnings


def test_moments_refuse_a_width_below_degree_one_naming_it():
    with pytest.raises(
        ValueError, match=r"^block 0: .*neurons with 10 parameters, which takes N = 11 neurons"
    ):
        compress(mlp(6, 40, 3), 8, calibration=X, preserve="moments", progress=False)
    result = compress(mlp(1, 60, 1), 12, calibration=rows(50, 1), preserve="moments", progress=False)
    assert result.plan.blocks[0].method == "parameter moments"
