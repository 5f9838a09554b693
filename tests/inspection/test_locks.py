"""What looks like a block and cannot be cut is listed with the reason, never left out in silence."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    GptOssConfig,
    GptOssModel,
    MixtralConfig,
    MixtralModel,
    PreTrainedModel,
    Qwen2MoeConfig,
    Qwen2MoeModel,
)

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.errors import UnsupportedBlockError
from jlab_compress.inspection.find import find_blocks
from tests.models import mlp, repeat_units, rows, seeded

ROWS, IMAGES = rows(8, 6, dtype=torch.float32), rows(4, 3, 8, 8, dtype=torch.float32)
SEQUENCES, IDS = rows(4, 5, 6, dtype=torch.float32), torch.arange(21).reshape(3, 7)
SMALL = {
    "vocab_size": 50,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
}
FEW = {"num_experts_per_tok": 2}


class Written(nn.Module):
    """A model of some parts with a forward written by hand."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part if isinstance(part, nn.Module) else nn.Parameter(torch.randn(*part)))
        self._run = forward

    def forward(self, x):
        return self._run(self, x)


def gated(m, x, first, second):
    h = m.a(x)
    return m.o(h[..., first] * torch.sigmoid(h[..., second]))


def hyper(m, x):
    return F.linear(F.relu(m.a(x)), m.h(x.new_ones(4)).view(2, 8))


BARE = "is a bare parameter, not the weight of an nn.Linear"
HAND = {
    "einsum": (
        lambda: Written(
            lambda m, x: torch.einsum("bh,ho->bo", F.relu(torch.einsum("bi,ih->bh", x, m.w) + m.b), m.v),
            w=(6, 8),
            b=(8,),
            v=(8, 3),
        ),
        ("w", "v", f"w {BARE}"),
    ),
    "matmul": (lambda: Written(lambda m, x: F.relu(x @ m.w) @ m.v, w=(6, 8), v=(8, 3)), ("w", "v", BARE)),
    "weights on the left": (
        lambda: Written(lambda m, x: (m.v @ F.relu(m.w @ x.T)).T, w=(8, 6), v=(3, 8)),
        ("w", "v", BARE),
    ),
    "functional": (
        lambda: Written(lambda m, x: F.linear(F.relu(F.linear(x, m.w)), m.v), w=(8, 6), v=(3, 8)),
        ("w", "v", BARE),
    ),
    "into a bare one": (
        lambda: Written(lambda m, x: F.relu(m.a(x)) @ m.v, a=nn.Linear(6, 8), v=(8, 3)),
        ("a", "v", f"v {BARE}"),
    ),
    "out of a bare one": (
        lambda: Written(lambda m, x: m.a(F.relu(x @ m.w)), a=nn.Linear(8, 3), w=(6, 8)),
        ("w", "a", f"w {BARE}"),
    ),
    "centres": (
        lambda: Written(lambda m, x: m.o(torch.exp(-torch.cdist(x, m.c))), c=(8, 6), o=nn.Linear(8, 2)),
        ("c", "o", BARE),
    ),
    "experts": (
        lambda: Written(
            lambda m, x: torch.bmm(F.gelu(torch.bmm(x.expand(4, -1, -1), m.up)), m.down).sum(0),
            up=(4, 6, 8),
            down=(4, 8, 3),
        ),
        ("up", "down", "up holds the weights of 4 experts or groups in one parameter"),
    ),
    "tied by its transpose": (
        lambda: Written(lambda m, x: F.relu(m.a(x)) @ m.a.weight, a=nn.Linear(6, 8)),
        ("a", "a", "the weight of a is also read outside its own forward"),
    ),
    "computed": (
        lambda: Written(hyper, a=nn.Linear(6, 8), h=nn.Linear(4, 16)),
        ("a", "", "Written computes a weight while it runs"),
    ),
    "bilinear": (
        lambda: Written(lambda m, x: m.o(F.relu(m.b(x, x))), b=nn.Bilinear(6, 6, 8), o=nn.Linear(8, 2)),
        ("b", "o", "b is a Bilinear"),
    ),
}


@pytest.mark.parametrize("name", HAND)
def test_products_by_hand_are_listed_by_the_names_of_their_parameters(name):
    build, (maker, reader, reason) = HAND[name]
    blocks = find_blocks(seeded(build), ROWS)
    assert [(b.name, b.outgoing, b.width) for b in blocks] == [(maker, reader, 8)]
    assert reason in blocks[0].locked
    assert blocks[0].parameters > 0


@pytest.mark.parametrize(("first", "second"), [(slice(4), slice(4, 8)), (slice(0, 8, 2), slice(1, 8, 2))])
def test_a_gate_that_is_sliced_out_of_one_layer_is_listed(first, second):
    model = seeded(Written, lambda m, x: gated(m, x, first, second), a=nn.Linear(6, 8), o=nn.Linear(4, 2))
    (block,) = find_blocks(model, ROWS)
    assert block.name == "a"
    assert "cut into parts or joined with others by `__getitem__`" in block.locked


CONV = nn.Conv2d
STACKS = {
    "recurrent": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.GRU(8, 9)), SEQUENCES, "recurrent"),
    "transposed": (
        lambda: nn.Sequential(CONV(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 3, 3)),
        IMAGES,
        "2 is a transposed convolution",
    ),
    "two transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 3, 3)),
        IMAGES,
        "0 is a transposed convolution",
    ),
    "group norm": (
        lambda: nn.Sequential(CONV(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), CONV(8, 3, 3)),
        IMAGES,
        "`group_norm` has one parameter for each hidden unit",
    ),
    "instance norm": (
        lambda: nn.Sequential(CONV(3, 8, 3), nn.InstanceNorm2d(8), nn.ReLU(), CONV(8, 3, 3)),
        IMAGES,
        "works on all hidden units together",
    ),
    "pixel shuffle": (
        lambda: nn.Sequential(CONV(3, 8, 3), nn.ReLU(), nn.PixelShuffle(2), CONV(2, 2, 3)),
        IMAGES,
        "cannot be followed through `pixel_shuffle`",
    ),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)),
        ROWS,
        "`layer_norm` has one parameter for each hidden unit",
    ),
    "a slope for each unit": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.PReLU(8), nn.Linear(8, 3)),
        ROWS,
        "`prelu` has one parameter for each hidden unit",
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_what_stands_between_or_behind_is_named(name):
    build, example, reason = STACKS[name]
    block = find_blocks(seeded(build), example)[0]
    assert (block.name, block.width) == ("0", 8)
    assert reason in block.locked


def test_a_skip_connection_that_is_joined_locks_only_its_own_channels():
    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.deep, self.deeper = CONV(3, 8, 3, 1, 1), CONV(8, 9, 3, 1, 1), CONV(9, 8, 3, 1, 1)
            self.joined, self.last = CONV(16, 6, 3), CONV(6, 2, 1)

        def forward(self, x):
            skip = F.relu(self.first(x))
            deep = F.relu(self.deeper(F.relu(self.deep(skip))))
            return self.last(F.relu(self.joined(torch.cat([skip, deep], 1))))

    model = seeded(Skipping)
    blocks = find_blocks(model, IMAGES)
    assert [b.name for b in blocks.unlocked] == ["deep", "joined"]
    assert "`cat`" in blocks.named("first").locked
    slim = compress_baseline(model, 0.5, calibration=IMAGES, method="random").model
    assert slim(IMAGES).shape == model(IMAGES).shape


MIXTURES = {
    "mixtral": lambda: MixtralModel(MixtralConfig(**SMALL, **FEW, num_local_experts=4)),
    "qwen": lambda: Qwen2MoeModel(
        Qwen2MoeConfig(
            **SMALL, **FEW, num_experts=4, moe_intermediate_size=20, shared_expert_intermediate_size=16
        )
    ),
}


@pytest.mark.parametrize("implementation", ["grouped_mm", "eager"])
@pytest.mark.parametrize("name", MIXTURES)
def test_experts_that_share_one_parameter_are_listed(name, implementation):
    model: PreTrainedModel = seeded(MIXTURES[name]).eval()
    model.set_experts_implementation(implementation)
    example = {"input_ids": IDS, "use_cache": False}
    blocks = find_blocks(model, example)
    for layer in range(2):
        block = blocks.named(f"layers.{layer}.mlp.experts.gate_up_proj")
        assert (block.width, block.outgoing) == (20, f"layers.{layer}.mlp.experts.down_proj")
        assert "holds the weights of 4 experts or groups in one parameter" in block.locked
    assert {b.name for b in blocks.by_default} == {
        f"layers.{layer}.mlp.shared_expert.gate_proj" for layer in range(2) if name == "qwen"
    }
    with pytest.raises(UnsupportedBlockError, match=r"it is locked: .* 4 experts or groups"):
        compress(model, {blocks.named("layers.0.mlp.experts.gate_up_proj").name: 10}, calibration=example)


def test_attention_with_a_sink_is_listed():
    config = GptOssConfig(**SMALL, **FEW, num_local_experts=4, head_dim=4, layer_types=["full_attention"] * 2)
    blocks = find_blocks(seeded(GptOssModel, config), {"input_ids": IDS, "use_cache": False})
    assert "attention weights are cut into parts" in blocks.named("layers.0.self_attn").locked
    assert "4 experts or groups" in blocks.named("layers.0.mlp.experts.gate_up_proj").locked


class LowRank(nn.Module):
    """A layer with an adapter of low rank beside it, as LoRA has it."""

    def __init__(self, base, rank, scale, dropout):
        super().__init__()
        self.base, self.scale, self.drop = base, scale, nn.Dropout(dropout)
        self.down = nn.Linear(base.in_features, rank, bias=False).double()
        self.up = nn.Linear(rank, base.out_features, bias=False).double()

    def forward(self, x):
        return self.base(x) + self.up(self.down(self.drop(x))) * self.scale

    def merged(self):
        made = copy.deepcopy(self.base)
        made.weight.data += self.scale * (self.up.weight @ self.down.weight)
        return made


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("places", [(0,), (2,), (0, 2)])
def test_the_rank_of_an_adapter_is_no_width_and_a_merged_model_is_open(places, dropout):
    net, x = mlp(4, 6, 3), rows(40, 4)
    repeat_units([net[0]], net[2], 3)
    for place in places:
        net[place] = LowRank(net[place], 2, 0.5, dropout)
    net.eval()
    found = find_blocks(net, x[:8])
    assert not found.unlocked
    reasons = {block.name: block.locked for block in found}
    for place in places:
        assert "its units are the rank of an adapter" in reasons[f"{place}.down"]
        assert f"merge it into {place}.base" in reasons[f"{place}.down"]
    merged = nn.Sequential(*(part.merged() if isinstance(part, LowRank) else part for part in net))
    assert [block.name for block in find_blocks(merged, x[:8]).unlocked] == ["0"]
    assert torch.allclose(merged(x), net(x), rtol=1e-12)


def test_two_layers_without_an_activation_that_stand_alone_are_a_block():
    net = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 4)).double()
    assert find_blocks(net, rows(8, 5)).named("0").locked is None
