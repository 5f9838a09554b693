"""One count of multiply-adds: by hand, by torch's counter, and as the sum over recorded calls."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.deployment.onnx.export import export_onnx
from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.graph.costs import count_bytes, count_macs, count_parameters
from jlab_compress.graph.recorder import record
from jlab_compress.inspection.find import find_blocks

T, D, H = 7, 16, 32  # positions, width of the stream, hidden neurons


class Fused(nn.Module):
    """Attention by torch's fused product, and a feed-forward block."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v, self.out = (nn.Linear(D, D) for _ in range(4))
        self.up, self.down = nn.Linear(D, H), nn.Linear(H, D)

    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)

    def forward(self, x):
        parts = [p(x).unflatten(-1, (4, -1)).transpose(1, 2) for p in (self.q, self.k, self.v)]
        x = x + self.out(self.attend(*parts).transpose(1, 2).flatten(2))
        return x + self.down(self.up(x).relu())


class ByHand(Fused):
    """The same with products written out."""

    def attend(self, q, k, v):
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v


class Stock(Fused):
    """The same with `nn.MultiheadAttention`."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(D, 4, batch_first=True)

    def forward(self, x):
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.down(self.up(x).relu())


def convolutions():
    torch.manual_seed(0)
    deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), deep, nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(100, 2)
    )


PRODUCTS = 2 * T * T * D
HEADS = T * 4 * D * D + PRODUCTS
CASES = {
    "mlp": (nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)), (3, 8), 8 * 32 + 32 * 4),
    "conv": (convolutions(), (2, 3, 5, 5), 25 * (3 * 8 + 9 * 8 + 8 * 4) + 200),
    "fused attention": (Fused(), (3, T, D), HEADS + 2 * T * D * H),
    "attention by hand": (ByHand(), (3, T, D), HEADS + 2 * T * D * H),
    "stock attention": (Stock(), (3, T, D), HEADS + 2 * T * D * H),
}


@pytest.fixture(params=CASES)
def case(request):
    model, shape, macs = CASES[request.param]
    return model.eval(), torch.randn(shape, generator=torch.Generator().manual_seed(1)), macs


def test_the_count_is_that_by_hand_and_the_sum_over_recorded_calls(case):
    model, x, macs = case
    assert count_macs(model, Call((x,))) == macs
    with undisturbed(model):
        assert sum(operation.macs for operation in record(model, Call((x,))).operations) == len(x) * macs


@pytest.mark.parametrize("name", ["mlp", "fused attention", "stock attention"])
def test_compression_and_export_tell_the_same_number(name, tmp_path):
    model, shape, macs = CASES[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    chosen = {block.name: block.width // 2 for block in find_blocks(model.eval(), x).unlocked}
    made = compress_baseline(model, chosen, calibration=x, method="magnitude")
    told = made.report.facts["macs_before"], made.report.facts["macs_after"]
    shown = tuple(export_onnx(m, tmp_path / f"{id(m)}.onnx", x).macs for m in (model, made.model))
    assert told == shown
    assert told[0] == macs > told[1] > 0


def test_blocks_hold_the_products_between_their_layers():
    for name in ("fused attention", "attention by hand", "stock attention"):
        model, shape, _ = CASES[name]
        counted = {b.kind: b.macs for b in find_blocks(model.eval(), torch.ones(shape))}
        assert counted == {"attention": HEADS, "mlp": 2 * T * D * H}
    depthwise = find_blocks(convolutions().eval(), torch.ones(2, 3, 5, 5)).named("0")
    assert depthwise.macs == 25 * (3 * 8 + 9 * 8 + 8 * 4)


def test_attention_products_were_not_counted_by_layers_alone(case):
    model, x, macs = case
    with undisturbed(model):
        trace = record(model, Call((x,)))
    layers = sum(o.macs for o in trace.operations if o.name in {"linear", "conv2d"})
    attends = isinstance(model, Fused)
    assert (layers < len(x) * macs) == attends


def test_a_model_is_counted_as_it_is_and_stays(fingerprint):
    model = Stock().train()
    x = torch.ones(3, T, D)
    before = fingerprint(model, x)
    assert count_macs(model, Call((x,))) == HEADS + 2 * T * D * H
    assert fingerprint(model, x) == before


def test_shared_parameters_count_once():
    layer = nn.Linear(4, 4)
    twice = nn.Sequential(layer, nn.ReLU(), layer, nn.BatchNorm1d(4))
    assert count_parameters(twice) == 4 * 4 + 4 + 8
    assert count_bytes(twice) == 4 * (4 * 4 + 4 + 8) + 2 * 4 * 4 + 8
