"""Models as they come: precisions, inputs and outputs, layers of other kinds, what a name must ask for."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.execution.outputs import outputs_of
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim.conversion import fold
from tests.models import mlp, rows, seeded

IDS = torch.randint(50, (24, 6), generator=torch.Generator().manual_seed(1))


def classifier():
    small = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 20}
    return seeded(lambda: BertForSequenceClassification(BertConfig(vocab_size=50, **small)).eval())


class Two(nn.Module):
    """A sequence model of an input and a state, by keyword, that returns nested tuples and mappings."""

    def __init__(self):
        super().__init__()
        self.body = nn.ModuleDict(
            {"deep": nn.ModuleList([mlp(4, 12, 4, dtype=torch.float32) for _ in range(2)])}
        )
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, *, x, state, scale=1.0):
        for layer in self.body["deep"]:
            x = x + layer(x)
        mixed, _ = self.attention(x, state["memory"], state["memory"], need_weights=False)
        return {"scores": (mixed * scale, [x]), "name": "two"}


def test_nested_modules_with_keyword_inputs_and_nested_outputs():
    model = seeded(Two)
    example = {
        "x": rows(20, 3, 4, dtype=torch.float32),
        "state": {"memory": rows(20, 5, 4, dtype=torch.float32)},
    }
    blocks = find_blocks(model, example)
    assert [b.name for b in blocks.unlocked] == ["body.deep.0.0", "body.deep.1.0", "attention"]
    widths = {b.name: b.width // 2 for b in blocks.unlocked}
    result = compress(model, widths, calibration=[example], preserve="function", progress=False)
    got, expected = (outputs_of(m(**example)) for m in (result.model, model))
    assert [t.shape for t in got] == [t.shape for t in expected]
    assert all((a - b).norm() < b.norm() for a, b in zip(got, expected, strict=True))


def test_repeated_modules_are_locked_and_their_neighbours_free():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.free = mlp(4, 12, 4), mlp(4, 10, 2)

        def forward(self, x):
            return self.free(self.layer(x) + self.layer(2 * x))

    blocks = {b.name: b.locked for b in find_blocks(seeded(Shared), rows(5, 4))}
    assert "runs 2 times" in blocks["layer.0"]
    assert blocks["free.0"] is None


NETS = {
    "mlp": (lambda: mlp(6, 16, 3, activation=nn.GELU), rows(40, 6), {"0": 8}),
    "conv": (
        lambda: nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 3)),
        rows(24, 2, 7, 7),
        {"0": 4},
    ),
    "heads": (
        lambda: nn.TransformerEncoderLayer(12, 3, 16, 0.0, batch_first=True),
        rows(24, 5, 12),
        {"self_attn": 2},
    ),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("preserve", ["function", "dynamics"])
@pytest.mark.parametrize("name", NETS)
def test_half_precision_models_are_cast_back_once(name, preserve, dtype):
    build, x, widths = NETS[name]
    model = seeded(build).eval().to(dtype)
    before = copy.deepcopy(model.state_dict())
    slim = compress(model, widths, calibration=x.to(dtype), preserve=preserve, progress=False).model
    assert {t.dtype for t in slim.state_dict().values() if t.is_floating_point()} == {dtype}
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    with torch.no_grad():
        wide = copy.deepcopy(slim).double()(x.to(dtype).double())
        for got in (slim(x.to(dtype)), fold(slim)(x.to(dtype))):
            assert (got.double() - wide).norm() < 0.05 * wide.norm()
    slim(x.to(dtype)).square().mean().backward()
    assert all(p.grad.dtype == dtype for p in slim.parameters())


def test_one_width_for_all_leaves_out_what_a_configuration_fixes(tmp_path):
    model, example = classifier(), {"input_ids": IDS}
    blocks = find_blocks(model, example)
    assert [b.name for b in blocks.unlocked if b.opt_in is None] == [
        "bert.encoder.layer.0.intermediate.dense"
    ]
    assert any("pooler.dense: its width is the configuration's hidden_size" in n for n in blocks.report.notes)
    result = compress_baseline(model, 0.5, calibration=example, method="k-means")
    assert any("pooler.dense" in note for note in result.report.notes)
    fold(result.model).save_pretrained(tmp_path)
    back = type(model).from_pretrained(tmp_path).eval()
    assert torch.allclose(back(**example).logits, result.model(**example).logits, atol=1e-6)
    named = compress_baseline(model, {"bert.pooler.dense": 6}, calibration=example, method="k-means")
    assert named.model.bert.pooler.dense.out_features == 6
    assert not any("hidden_size" in note for note in named.report.notes)


class Sequence(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.before = nn.Linear(4, 9)
        self.middle = kind(9, 7)
        self.after = nn.Linear(7, 3)

    def forward(self, x):
        h = self.middle(F.relu(self.before(x)))
        return self.after(h[0] if isinstance(h, tuple) else h)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, nn.GRUCell, nn.RNNCell])
def test_recurrent_layers_are_listed_with_the_reason(kind):
    model = seeded(Sequence, kind)
    locked = {b.name: b.locked for b in find_blocks(model, rows(5, 4, dtype=torch.float32))}
    assert list(locked) == ["before", "middle"]
    assert all("middle is recurrent" in reason for reason in locked.values())


def test_transposed_convolutions_are_listed_with_the_reason():
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)
        )
    )
    blocks = find_blocks(net, rows(2, 2, 6, 6, dtype=torch.float32))
    assert [(b.name, b.width) for b in blocks] == [("0", 6), ("2", 4)]
    assert all("2 is a transposed convolution" in b.locked for b in blocks)


def test_a_layernorm_over_hidden_units_is_locked_with_its_name():
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2)))
    (block,) = find_blocks(net, rows(5, 4, dtype=torch.float32))
    assert "one parameter for each hidden unit (1.weight)" in block.locked
