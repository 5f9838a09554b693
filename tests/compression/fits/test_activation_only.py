"""Fits of attention heads in a running model: what they see, what they reach, what they refuse."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress import compress, compress_baseline, sweep
from jlab_compress.compression.fits.activation_only import unit_kernels, unit_rows
from jlab_compress.compression.fits.site import Site
from jlab_compress.execution.calls import Call
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim.layers import read_layer
from jlab_compress.slim.surgery import write_layer
from tests.models import rows, seeded

X = rows(120, 4, 12)


class Layers(nn.Module):
    def __init__(self, norm_first=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 6, 16, 0.0, batch_first=True, norm_first=norm_first)
        self.layers = nn.ModuleList([copy.deepcopy(layer) for _ in range(2)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Points(nn.Module):
    """The attention of the paper's figure 7: many heads of size 2 on scalar tokens, m = 8."""

    def __init__(self, n=60):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(1, 2 * n, bias=False) for _ in range(3))
        self.o = nn.Linear(2 * n, 1, bias=False)

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (-1, 2)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


def one(model, name="layers.0.self_attn"):
    return find_blocks(model, X).named(name)


def place(model, block):
    return Site(model, copy.deepcopy(model), block, (Call((X,)),))


def test_rows_and_what_stands_behind_them_are_those_of_the_model():
    model = seeded(Layers).double().eval()
    block = one(model)
    found = unit_rows(place(model, block))
    layer = read_layer(model, block)
    assert found.values.shape == (480, 12)
    stream = model.layers[0].norm1(found.outputs_of(layer) + found.post_norm.stream)
    assert torch.allclose(found.post_norm(found.outputs_of(layer), torch.arange(480)), stream)
    assert torch.allclose(found.post_norm.stream, X.flatten(0, 1))
    assert found.post_norm.stream is not None
    assert block.residual.norm == "layers.0.norm1"


def test_kernels_of_equal_heads_are_equal_and_add_up():
    model = seeded(Layers).double().eval()
    block = one(model)
    copies = read_layer(model, block).select(torch.tensor([0, 1, 1, 2, 3, 0]))
    write_layer(model, block, copies)
    flags = [p.requires_grad for p in model.parameters()]
    for kernel in unit_kernels(place(model, block)):
        assert torch.equal(kernel[0], kernel[5])
        assert torch.equal(kernel[1], kernel[2])
        assert not torch.allclose(kernel[3], kernel[4], rtol=0.01)
        assert torch.allclose(kernel.sum(0).diagonal(), torch.ones(96).double())
        assert float(torch.linalg.eigvalsh(kernel[3]).min()) > -1e-6
    assert [p.requires_grad for p in model.parameters()] == flags


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_function_fit_beats_what_it_must(norm_first):
    model = seeded(Layers, norm_first).double().eval()
    names = ["layers.0.self_attn", "layers.1.self_attn"]
    gaps = {
        "function": compress(
            model, dict.fromkeys(names, 3), calibration=X, preserve="function", progress=False
        )
    }
    for method in ("random", "magnitude", "nnls", "greedy"):
        gaps[method] = compress_baseline(model, dict.fromkeys(names, 3), calibration=X, method=method)
    held = rows(40, 4, 12, seed=7)
    errors = {name: float((r.model(held) - model(held)).norm()) for name, r in gaps.items()}
    assert min(errors, key=errors.get) == "function"
    assert errors["greedy"] < min(errors["random"], errors["magnitude"])


def test_multiplicities_say_what_is_matched_and_whether_the_slim_model_trains_alike():
    model = seeded(Layers).double().eval()
    result = compress(model, {"layers.0.self_attn": 3}, calibration=X, progress=False)
    counts = result.model.layers[0].self_attn.head_multiplicities
    assert counts.shape == (result.plan.blocks[0].width_after,)
    assert bool((counts > 0).all())
    assert any("matched are the outputs and" in note for note in result.report.notes)
    assert any("will not train like" in warning for warning in result.report.warnings)


def test_dropout_on_attention_weights_is_said():
    for rate in (0.0, 0.1):
        layer = seeded(nn.TransformerEncoderLayer, 12, 6, 16, rate, batch_first=True).double()
        report = compress_baseline(layer, {"self_attn": 3}, calibration=X, method="random").report
        assert any("attention weights of self_attn" in note for note in report.notes) == (rate > 0)
        assert any("3 of 6 heads" in warning for warning in report.warnings)


def test_heads_as_points_of_eight_numbers_keep_their_moments():
    model, x = seeded(Points).double().eval(), rows(60, 9, 1)
    (name,) = [b.name for b in find_blocks(model, x)]
    result = compress(model, {name: 20}, calibration=x, preserve="moments", progress=False)
    counts = result.model.o.input_multiplicities
    assert float(counts.sum()) == pytest.approx(120)
    with pytest.raises(ValueError, match=r"N = 9 neurons"):
        compress(model, {name: 5}, calibration=x, preserve="moments", progress=False)


def test_a_sweep_measures_what_fits_reach():
    model = seeded(Layers).double().eval()
    found = sweep(model, {"layers.0.self_attn": [2, 4]}, calibration=X).forecasts["layers.0.self_attn"]
    reached = compress(model, {"layers.0.self_attn": 4}, calibration=X, preserve="function", progress=False)
    measured = reached.report.tables[0].rows[0][9]
    assert 0.5 < found.function_errors[1] / measured < 2
    assert found.kernel_errors[0] > found.kernel_errors[1] > 0


@pytest.mark.parametrize("method", ["k-means", "interpolative"])
def test_ways_that_need_single_neurons_are_refused(method):
    with pytest.raises(
        ValueError, match=rf"^block layers.0.self_attn: only a run of the model tells .*'{method}'"
    ):
        compress_baseline(seeded(Layers).double(), {"layers.0.self_attn": 3}, calibration=X, method=method)


def test_the_plain_gauge_is_refused_for_heads():
    with pytest.raises(ValueError, match="holds attention heads, whose multiplicities must stay"):
        compress(
            seeded(Layers).double(), {"layers.0.self_attn": 3}, calibration=X, plain=True, progress=False
        )
