import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from jlab_compress.compression.compress import compress
from jlab_compress.inspection.block import Block
from jlab_compress.inspection.find import find_blocks
from tests.models import Gated, TwoBranches, mlp, repeat_units, rows, seeded


def only(model, example=None):
    blocks = find_blocks(model, example)
    assert len(blocks) == 1
    return blocks[0]


def test_each_hidden_layer_of_an_mlp_is_a_block():
    blocks = find_blocks(mlp(4, 16, 8, 2), rows(3, 4))
    assert [(b.name, b.width, b.outgoing, b.locked) for b in blocks] == [
        ("0", 16, "2", None),
        ("2", 8, "4", None),
    ]
    first = blocks.named("0")
    assert (first.kind, first.dimension, first.parameters, first.macs) == ("mlp", 4 + 1 + 8, 16 * 13, 16 * 12)
    assert isinstance(first, Block)
    with pytest.raises(KeyError, match="7"):
        blocks.named("7")


def test_a_single_layer_has_no_block():
    assert find_blocks(nn.Linear(3, 2)) == ()


@pytest.mark.parametrize("kind", ["plain", "inplace", "sigmoid_gelu"])
def test_pointwise_code_between_the_layers_is_found_and_can_be_replayed(kind):
    model = seeded(TwoBranches, kind)
    block = only(model, rows(7, 5, dtype=torch.float32))
    assert block.locked is None
    h = rows(7, 12, dtype=torch.float32, seed=3)
    expected = getattr(model, f"_{kind}")(torch.tanh(h).clone())
    assert torch.allclose(block.activation(h), expected)
    assert torch.equal(h, rows(7, 12, dtype=torch.float32, seed=3)), "the replay changed its argument"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("layernorm", "one parameter for each hidden unit"),
        ("bare_norm", "combines its hidden units"),
        ("softmax", "mixes its hidden units"),
        ("mean", "combines its hidden units"),
        ("reads_width", "split in two"),
        ("reads_shape", "split in two"),
        ("fixed_view", "split in two"),
        ("positions", "one parameter for each hidden unit"),
        ("flip", "mixes its hidden units"),
        ("cumulative", "mixes its hidden units"),
        ("chunk", "cut into parts or joined"),
        ("detached", "cuts its gradient"),
        ("reads_values", "also read by `abs`"),
    ],
)
def test_code_that_depends_on_the_width_locks_the_block_with_its_reason(kind, reason):
    block = only(seeded(TwoBranches, kind), rows(7, 5, dtype=torch.float32))
    assert block.locked is not None
    assert reason in block.locked


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_slope_that_all_neurons_share_is_part_of_the_activation_and_trains_on(optimizer):
    wide, x = mlp(5, 4, 3, activation=nn.PReLU), rows(30, 5)
    repeat_units([wide[0]], wide[2], 3)
    assert only(wide, x).locked is None
    slim = compress(wide, 4, calibration=x, progress=False).model
    before = wide(x).detach()
    for model in (wide, slim):
        steps = optimizer(model.parameters(), 0.01)
        for _ in range(30):
            steps.zero_grad()
            (model(x) - 1).square().mean().backward()
            steps.step()
    assert (wide(x) - before).norm() > 1e-2 * before.norm()
    assert torch.allclose(slim(x), wide(x), rtol=1e-9, atol=1e-12)
    assert torch.allclose(slim[1].weight, wide[1].weight, rtol=1e-9)


def test_a_gated_block_names_both_layers_that_make_it():
    block = only(seeded(Gated), rows(5, 6, dtype=torch.float32))
    assert (block.name, block.kind, block.incoming, block.outgoing) == (
        "gate",
        "gated-mlp",
        ("gate", "up"),
        "down",
    )
    assert block.dimension == 6 + 6 + 4
    assert block.locked is None


class Custom(nn.Module):
    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._run = forward

    def forward(self, *args, **kwargs):
        return self._run(self, *args, **kwargs)


def tied():
    model = Custom(
        lambda m, x: m.b(torch.relu(m.a(x))) + m.c(x), a=nn.Linear(4, 6), b=nn.Linear(6, 4), c=nn.Linear(4, 6)
    )
    model.c.weight = model.a.weight
    model._run = lambda m, x: (m.b(torch.relu(m.a(x))), m.c(x))
    return model


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (tied, "shares its weight with c"),
        (
            lambda: Custom(
                lambda m, x: m.b(F.relu(m.a(F.relu(m.a(x))))), a=nn.Linear(4, 4), b=nn.Linear(4, 2)
            ),
            "runs 2 times",
        ),
        (
            lambda: Custom(
                lambda m, x: m.b(F.relu(m.a(x))) + m.a.weight.square().sum(),
                a=nn.Linear(4, 6),
                b=nn.Linear(6, 2),
            ),
            "read outside its own forward",
        ),
        (
            lambda: Custom(
                lambda m, x: m.b(F.relu(F.linear(x, m.a.weight, m.a.bias))),
                a=nn.Linear(4, 6),
                b=nn.Linear(6, 2),
            ),
            "read outside its own forward",
        ),
        (
            lambda: Custom(
                lambda m, x: m.b(F.relu(m.a(x))),
                a=nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)),
                b=nn.Linear(6, 2),
            ),
            "computed by a parametrization",
        ),
        (
            lambda: Custom(lambda m, x: m.b(m.a(x) + x), a=nn.Linear(4, 4), b=nn.Linear(4, 2)),
            "residual stream",
        ),
        (
            lambda: Custom(
                lambda m, x: (m.b(h := F.relu(m.a(x))), m.c(h)),
                a=nn.Linear(4, 6),
                b=nn.Linear(6, 2),
                c=nn.Linear(6, 3),
            ),
            r"read by more than one layer (b, c)",
        ),
        (
            lambda: Custom(lambda m, x: (m.b(h := F.relu(m.a(x))), h), a=nn.Linear(4, 6), b=nn.Linear(6, 2)),
            "among the model's outputs",
        ),
        (
            lambda: Custom(
                lambda m, x: m.b(F.relu(m.a(x))), a=type("Mine", (nn.Linear,), {})(4, 6), b=nn.Linear(6, 2)
            ),
            "is a Mine, not a plain nn.Linear",
        ),
    ],
)
def test_couplings_are_locked_with_their_own_reason(build, reason):
    locked = [b.locked for b in find_blocks(seeded(build), rows(5, 4, dtype=torch.float32)) if b.locked]
    assert any(reason in words for words in locked), locked


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_quantised_and_old_style_computed_layers_are_locked():
    net = mlp(4, 8, 2, dtype=torch.float32)
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    x = rows(5, 4, dtype=torch.float32)
    assert [(b.name, b.width, "quantised" in b.locked) for b in find_blocks(quantised, x)] == [
        ("0", 8, True),
        ("2", 2, True),
    ]
    for wrap in (nn.utils.weight_norm, nn.utils.spectral_norm):
        net = mlp(4, 8, 2, dtype=torch.float32)
        wrap(net[0])
        net(x)
        assert "computed by a parametrization" in only(net, x).locked


def test_the_model_and_the_random_states_stay_bit_for_bit():
    calls = []
    model = seeded(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 2))
    )
    model[2].eval()
    model[0].weight.requires_grad_(False)
    handle = model[0].register_forward_hook(lambda *a: calls.append(1) or None)
    state, flags = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    torch.manual_seed(5)
    np.random.seed(5)
    find_blocks(model, rows(6, 4, dtype=torch.float32))
    drawn = torch.rand(1), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    assert (drawn[0], drawn[1]) == (torch.rand(1), np.random.rand())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())
    assert [m.training for m in model.modules()] == flags
    assert not model[0].weight.requires_grad
    assert list(model[0]._forward_hooks) == [handle.id]
    assert not model[0]._forward_pre_hooks


def test_without_an_example_inputs_are_made_up():
    assert only(mlp(4, 16, 2)).locked is None
    attention, hidden = find_blocks(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True))
    assert hidden.locked is None
    assert (attention.name, attention.kind, attention.width) == ("self_attn", "attention", 2)
    assert attention.locked is None
    assert "only where widths name them" in attention.opt_in


def test_where_no_made_up_input_fits_blocks_are_listed_but_locked():
    model = Custom(lambda m, graph: m.net(graph["nodes"]), net=mlp(4, 16, 2))
    block = only(model)
    assert (block.name, block.width, block.dimension) == ("net.0", 16, 7)
    assert "pass example_inputs" in block.locked
    assert only(model, ({"nodes": rows(3, 4)},)).locked is None


def test_keyword_inputs_and_tuple_outputs_work():
    model = Custom(lambda m, *, x, factor: (m.net(x) * factor, {"twice": x}), net=mlp(4, 16, 2))
    assert only(model, {"x": rows(3, 4), "factor": 2.0}).locked is None


def test_half_precision_models_are_confirmed_at_their_own_precision():
    assert only(mlp(8, 32, 4, dtype=torch.bfloat16), rows(4, 8, dtype=torch.bfloat16)).locked is None


def test_a_model_that_draws_random_numbers_is_confirmed():
    model = Custom(lambda m, x: m.net(x + torch.randn_like(x)), net=mlp(4, 16, 2))
    assert only(model, rows(3, 4)).locked is None


@pytest.mark.parametrize(
    ("model", "example", "kind", "words"),
    [
        ("net", None, TypeError, "expected a torch.nn.Module, got str"),
        (torch.jit.ScriptModule(), None, TypeError, "TorchScript"),
        (torch.compile(mlp(4, 8, 2)), None, TypeError, "wraps another module"),
        (nn.DataParallel(mlp(4, 8, 2)), None, TypeError, "this DataParallel wraps another module"),
        (nn.Sequential(nn.LazyLinear(3)), None, ValueError, "lazy layers without sizes"),
        (mlp(4, 8, 2), rows(3, 5), ValueError, "the model fails on them .RuntimeError"),
        (mlp(4, 8, 2), rows(0, 4), ValueError, "empty tensor"),
        (mlp(4, 8, 2), torch.full((2, 4), torch.nan), ValueError, "NaN or infinite"),
        (mlp(4, 8, 2), 3, TypeError, "expected a tensor"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(model, example, kind, words):
    with pytest.raises(kind, match=words):
        find_blocks(model, example)


def test_the_table_shows_each_block():
    blocks = find_blocks(mlp(4, 16, 8, 2))
    assert "2 of 2 blocks can be compressed" in repr(blocks)
    assert "<table" in blocks._repr_html_()
    assert [row[0] for row in blocks.report.tables[0].rows] == ["0", "2"]


class FixedShape(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(6, 24), nn.Linear(24, 3)

    def forward(self, x):
        return self.down(F.relu(self.up(x)).view(-1, 4, 6).reshape(-1, 24))


@pytest.mark.parametrize(
    ("build", "shape", "reason"),
    [
        (FixedShape, (4, 6), "`view` spreads its units over several axes"),
        (
            lambda: nn.Sequential(nn.Conv1d(2, 24, 3, groups=2), nn.ReLU(), nn.Conv1d(24, 2, 3)),
            (4, 2, 9),
            "0 is a Conv1d in groups",
        ),
        (
            lambda: nn.Sequential(weight_norm(nn.Linear(6, 24)), nn.ReLU(), nn.Linear(24, 3)),
            (4, 6),
            "computed by a parametrization",
        ),
        (
            lambda: torch.ao.quantization.quantize_dynamic(
                nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3)), {nn.Linear}
            ),
            (4, 6),
            "0 is quantised",
        ),
    ],
)
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_cannot_be_compressed_is_listed_with_its_width_and_reason(build, shape, reason, given):
    block = find_blocks(seeded(build), rows(*shape, dtype=torch.float32) if given else None)[0]
    assert block.width == 24
    assert reason in block.locked


def test_a_model_without_blocks_is_one_sentence():
    report = find_blocks(nn.Linear(3, 2)).report
    assert report.tables == ()
    assert "No layer of this model hands hidden neurons on" in str(report)
