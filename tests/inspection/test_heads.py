"""Attention heads: found, repeated ones collapse exactly, and the slim model trains as the original does."""

import copy
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils.parametrizations import spectral_norm
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    ViTConfig,
    ViTModel,
)

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.execution.inputs import read_call
from jlab_compress.execution.outputs import outputs_of
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim import multihead, weighted
from jlab_compress.slim.conversion import fold
from jlab_compress.slim.layers import read_layer
from jlab_compress.slim.multihead import SlimMultiheadAttention
from jlab_compress.slim.storage import load, save
from jlab_compress.slim.surgery import write_layer
from jlab_compress.training.gradient_sums import clip_grad_norm_
from jlab_compress.training.optimizer_transfer import transfer_optimizer
from tests.models import rows, seeded

STEPS = 200
IDS = torch.randint(50, (12, 6), generator=torch.Generator().manual_seed(1))
IMAGES = rows(12, 3, 8, 8)
OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.01, momentum=0.5, weight_decay=1e-3),
    "AdamW": lambda p: torch.optim.AdamW(p, 3e-3, weight_decay=1e-1, fused=True),
}


class Attending(nn.Module):
    """A stock attention over a sequence, with masks and in either layout."""

    def __init__(self, batch_first=True, bias=True, **sizes):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 6, bias=bias, batch_first=batch_first, **sizes)
        self.batch_first, self.sizes = batch_first, sizes
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        causal = torch.ones(x.shape[1], x.shape[1]).bool().triu(1)
        padding = torch.zeros(x.shape[:2]).bool()
        padding[::2, -1] = True
        x = x if self.batch_first else x.transpose(0, 1)
        other = x[..., :5] if self.sizes else x
        out, weights = self.attention(x, other, other, padding, attn_mask=causal)
        return self.head(torch.tanh(out) if self.batch_first else torch.tanh(out).transpose(0, 1)), weights


class Fused(nn.Module):
    """Hand-written attention with one projection, its parts in a row or head by head."""

    def __init__(self, by_head):
        super().__init__()
        self.by_head, self.num_heads, self.size = by_head, 6, 2
        self.qkv, self.out = nn.Linear(12, 36, bias=False), nn.Linear(12, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        b, length, _ = x.shape
        if self.by_head:
            q, k, v = self.qkv(x).view(b, length, -1, 3 * self.size).transpose(1, 2).chunk(3, -1)
        else:
            parts = self.qkv(x).view(b, length, 3, self.num_heads, self.size)
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-1, -2) / self.size**0.5).softmax(-1)
        return self.head(torch.tanh(self.out((scores @ v).transpose(1, 2).flatten(2))))


def hugging(name):
    small = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size": 12}
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if name == "gpt2":
        return GPT2Model(
            GPT2Config(
                vocab_size=50,
                n_embd=12,
                n_layer=2,
                n_head=6,
                bos_token_id=0,
                eos_token_id=1,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
            )
        )
    if name == "llama":
        return LlamaModel(LlamaConfig(vocab_size=50, num_key_value_heads=6, **small))
    if name == "grouped":
        small["num_attention_heads"] = 12
        return LlamaModel(LlamaConfig(vocab_size=50, num_key_value_heads=6, head_dim=2, **small))
    if name == "vit":
        return ViTModel(ViTConfig(image_size=8, patch_size=4, **small, **quiet), add_pooling_layer=False)
    model = BertModel(BertConfig(vocab_size=50, **small, **quiet), add_pooling_layer=False)
    model.config._attn_implementation = name.removeprefix("bert ")
    return model


BUILDERS = {
    "packed": Attending,
    "sequence first": lambda: Attending(batch_first=False),
    "separate": lambda: Attending(kdim=5, vdim=5),
    "no bias": lambda: Attending(bias=False),
    "encoder layer": lambda: nn.TransformerEncoderLayer(12, 6, 12, 0.0, batch_first=True),
    "fused in a row": lambda: Fused(False),
    "fused by head": lambda: Fused(True),
} | {n: (lambda n=n: hugging(n)) for n in ("bert sdpa", "bert eager", "gpt2", "llama", "grouped", "vit")}


def batch(name):
    if name.startswith("bert"):
        mask = torch.ones_like(IDS)
        mask[::3, -2:] = 0
        return {"input_ids": IDS, "attention_mask": mask}
    if name in ("gpt2", "llama", "grouped"):
        return {"input_ids": IDS, "use_cache": False}
    return {"pixel_values": IMAGES} if name == "vit" else rows(24, 5, 12)


def outputs(model, example):
    return outputs_of(read_call(model, example)[0](model))[0]


def close_attention(module):
    if isinstance(module, SlimMultiheadAttention):
        del module.head_multiplicities
        module.__class__, module.out_proj.__class__ = nn.MultiheadAttention, NonDynamicallyQuantizableLinear


def repeated(name):
    """Return a model in which each block has two different heads, three times each, in a mixed order."""
    model = seeded(BUILDERS[name], seed=3).double()
    for block in find_blocks(model, batch(name)):
        if block.kind == "attention":
            index = torch.tensor([0, 1, 1, 0, 1, 0])
            write_layer(model, block, read_layer(model, block).select(index))
            close_attention(model.get_submodule(block.name))
    return model


@cache
def collapsed(name):
    """Return the repeated model and its slim form; tests train copies."""
    model, example = repeated(name), batch(name)
    found = [b for b in find_blocks(model, example) if b.kind == "attention"]
    assert found
    assert all(b.locked is None and b.width == 6 for b in found)
    return model, compress(model, {b.name: 2 for b in found}, calibration=example, progress=False)


def trained(model, example, optimizer, steps):
    model = copy.deepcopy(model).train()
    wanted = outputs(model, example).detach()
    wanted = wanted + 0.1 * torch.sin(3 * wanted.flip(0))
    parameters = optimizer(model.parameters())
    for _ in range(steps):
        parameters.zero_grad()
        (outputs(model, example) - wanted).square().mean().backward()
        parameters.step()
    return outputs(model, example).detach()


@pytest.mark.parametrize("name", BUILDERS)
def test_repeated_heads_collapse_to_the_distinct_ones_with_their_counts(name):
    model, result = collapsed(name)
    expected = outputs_of(read_call(model.eval(), batch(name))[0](model))
    for slim in (result.model.eval(), fold(result.model).eval()):
        for flag in (True, False):
            with torch.set_grad_enabled(flag):
                got = outputs_of(read_call(slim, batch(name))[0](slim))
        assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(got, expected, strict=True))
    for block in result.plan.blocks:
        counts = result.model.get_submodule(block.outgoing).input_multiplicities
        assert (block.width_after, set(counts.tolist())) == (2, {3.0})


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "name", ["packed", "separate", "encoder layer", "fused by head", "bert sdpa", "gpt2", "grouped"]
)
def test_training_stays_the_same_for_200_steps(name, optimizer):
    model, result = collapsed(name)
    steps = OPTIMIZERS[optimizer], STEPS
    expected, got = (trained(m, batch(name), *steps) for m in (model, result.model))
    assert (expected - outputs(model, batch(name))).norm() > 1e-3 * expected.norm(), "nothing moved"
    rounding = 1e-6 if name == "grouped" else 1e-9  # its norms compute in float32 whatever the model's dtype
    assert (got - expected).norm() <= rounding * expected.norm()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["packed", "bert sdpa"])
def test_without_the_division_of_gradients_training_differs(name, optimizer, monkeypatch):
    for module in (weighted, multihead):
        monkeypatch.setattr(module, "weigh", lambda w, columns, rows: w if columns is None else w * columns)
    model, result = collapsed(name)
    expected, got = (trained(m, batch(name), OPTIMIZERS[optimizer], 30) for m in (model, result.model))
    assert (got - expected).norm() > 1e-9 * expected.norm()


@pytest.mark.parametrize("name", ["packed", "separate", "encoder layer", "bert sdpa", "gpt2", "grouped"])
def test_slim_heads_go_through_storage_and_copies(name, tmp_path):
    model, example = seeded(BUILDERS[name], seed=3).double().eval(), batch(name)
    names = {b.name: 1 for b in find_blocks(model, example) if b.kind == "attention"}
    before = copy.deepcopy(model.state_dict())
    slim = compress_baseline(model, names, calibration=example, method="random").model
    for kept in (slim, fold(slim)):
        expected = outputs(kept, example)
        assert torch.equal(outputs(copy.deepcopy(kept), example), expected)
        save(kept, tmp_path / "slim")
        back = load(tmp_path / "slim", seeded(BUILDERS[name], seed=5).double().eval())
        assert torch.equal(outputs(back, example), expected)
        a, b = (trained(m, example, OPTIMIZERS["SGD"], 3) for m in (kept, back))
        assert torch.equal(a, b)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(isinstance(m, SlimMultiheadAttention) for m in model.modules())


@pytest.mark.parametrize("name", ["packed", "separate", "gpt2", "grouped"])
def test_an_optimizer_in_the_middle_of_its_work_goes_along(name):
    model, result = copy.deepcopy(collapsed(name))
    example, wanted = batch(name), rows(*outputs(model, batch(name)).shape)

    def steps(net, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            (outputs(net, example) - wanted).square().mean().backward()
            clip_grad_norm_(net, 0.05)
            optimizer.step()

    optimizer = OPTIMIZERS["AdamW"](model.parameters())
    steps(model, optimizer, 20)
    found = {b.name: 2 for b in result.plan.blocks}
    slim = compress(model, found, calibration=example, progress=False).model
    moved = transfer_optimizer(optimizer, model, slim)
    steps(model, optimizer, 20)
    steps(slim, moved, 20)
    expected = outputs(model, example)
    assert (outputs(slim, example) - expected).norm() <= 1e-9 * expected.norm()


def hard(kind):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            extra = {"learned keys": {"add_bias_kv": True}}.get(kind, {})
            self.attention = nn.MultiheadAttention(8, 1 if kind == "single" else 2, batch_first=True, **extra)
            self.other = nn.MultiheadAttention(8, 2, batch_first=True)
            self.scale = nn.Parameter(torch.tensor([0.5, 2.0]))
            if kind == "another output layer":
                self.attention.out_proj = type("Mine", (nn.Linear,), {})(8, 8)
            if kind == "computed output":
                spectral_norm(self.attention.out_proj)
            if kind == "tied":
                self.other.in_proj_weight = self.attention.in_proj_weight
            self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))

        def forward(self, x):
            if kind == "by hand":
                q, k, v = (f(x).view(*x.shape[:2], 2, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
                return self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))
            if kind == "scaled":
                q, k, v = (f(x).view(*x.shape[:2], -1, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
                heads = F.scaled_dot_product_attention(q, k, v) * self.scale[:, None, None]
                return self.o(heads.transpose(1, 2).flatten(2))
            if kind == "all weights":
                return self.attention(x, x, x, average_attn_weights=False)
            y = self.attention(x, x, x)[0]
            if kind == "twice":
                return self.attention(y, y, y)[0]
            return y + self.other(x, x, x)[0] if kind == "tied" else y

    return seeded(Net)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("single", "one head only"),
        ("learned keys", "adds keys and values of its own"),
        ("tied", "shares its weights"),
        ("another output layer", "where a Mine keeps its units is not known"),
        ("computed output", "computed by a parametrization; remove it first"),
        ("twice", "runs 2 times"),
        ("by hand", "fails when its heads are split in two"),
        ("scaled", "`mul` stands between its heads and the layer"),
        ("all weights", "attention weights that are returned"),
    ],
)
def test_what_stands_against_replacing_heads_is_said(kind, reason):
    blocks = [b for b in find_blocks(hard(kind), rows(3, 5, 8, dtype=torch.float32)) if b.kind == "attention"]
    assert reason in blocks[0].locked


def test_a_position_bias_for_each_head_locks_them():
    from transformers import T5Config, T5EncoderModel

    model = seeded(
        T5EncoderModel,
        T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, dropout_rate=0.0),
    ).eval()
    found = [b for b in find_blocks(model, {"input_ids": IDS}) if b.kind == "attention"]
    assert found
    assert all("permuted" in b.locked for b in found)


def test_one_width_for_all_leaves_heads_alone():
    model = seeded(BUILDERS["encoder layer"])
    slim = compress_baseline(
        model, 0.5, calibration=rows(24, 5, 12, dtype=torch.float32), method="random"
    ).model
    assert type(slim.self_attn) is nn.MultiheadAttention
    assert slim.linear1.out_features == 6


@pytest.mark.parametrize("name", ["bert sdpa", "gpt2", "vit"])
def test_folded_heads_of_the_transformers_library_are_stock_modules(name):
    model = seeded(BUILDERS[name]).double()
    names = {b.name: 1 for b in find_blocks(model, batch(name)) if b.kind == "attention"}
    folded = fold(compress_baseline(model, names, calibration=batch(name), method="random").model)
    assert {type(m) for m in folded.modules()} == {type(m) for m in model.modules()}
