import copy
import io
import pickle

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.slim.conversion import attach_plan, count_units, fold, multiplicities_of, plan_of
from jlab_compress.slim.operators import units_of
from jlab_compress.slim.plan import Plan
from jlab_compress.slim.units import Located
from jlab_compress.slim.weighted import WeightedLayer, WeightedLinear
from tests.models import mlp, rows


@pytest.fixture(scope="module")
def slim():
    net = mlp(6, 24, 16, 3, dtype=torch.float32)
    return compress_baseline(
        net, {"0": 8, "2": 5}, calibration=rows(80, 6, dtype=torch.float32), method="k-means"
    ).model


X = rows(7, 6, dtype=torch.float32)


def gradients(model, x):
    model.zero_grad()
    model(x).square().sum().backward()
    return [p.grad.clone() for p in model.parameters()]


def same(a, b, tolerance=0.0):
    return all((p - q).abs().max() <= tolerance * (1 + q.abs().max()) for p, q in zip(a, b, strict=True))


def test_a_layer_between_two_blocks_has_multiplicities_on_both_sides(slim):
    assert slim[0].input_multiplicities is None
    assert slim[0].output_multiplicities.sum() == 24
    assert torch.equal(slim[2].input_multiplicities, slim[0].output_multiplicities)
    assert torch.equal(slim[2].output_multiplicities, slim[4].input_multiplicities)
    assert slim[4].output_multiplicities is None
    assert [(m.in_features, m.out_features) for m in (slim[0], slim[2], slim[4])] == [(6, 8), (8, 5), (5, 3)]


@pytest.mark.parametrize(
    "copy_of",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: through_file(m)],
    ids=["deepcopy", "pickle", "torch.save"],
)
def test_copies_compute_and_train_alike_and_keep_the_plan(slim, copy_of):
    copied = copy_of(slim)
    assert torch.equal(copied(X), slim(X))
    assert same(gradients(copied, X), gradients(slim, X))
    assert plan_of(copied) == plan_of(slim)


def through_file(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def test_the_state_dict_carries_the_multiplicities(slim):
    other = copy.deepcopy(slim)
    for tensor in other.state_dict().values():
        tensor.zero_()
    assert other(X).abs().max() == 0
    other.load_state_dict(slim.state_dict())
    assert torch.equal(other(X), slim(X))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.bfloat16, 0.05)])
def test_another_dtype_takes_the_multiplicities_along(slim, dtype, tolerance):
    other = copy.deepcopy(slim).to(dtype)
    assert other[2].input_multiplicities.dtype == dtype
    assert same([other(X.to(dtype)).float()], [slim(X)], tolerance)


def test_another_device_takes_the_multiplicities_along(slim):
    assert {b.device.type for b in copy.deepcopy(slim).to("meta").buffers()} == {"meta"}


def test_torch_compile_computes_and_trains_alike(slim):
    compiled = torch.compile(copy.deepcopy(slim), backend="aot_eager", fullgraph=True)
    assert same([compiled(X)], [slim(X)], 1e-6)
    assert same(gradients(compiled, X), gradients(slim, X), 1e-6)
    assert plan_of(compiled) == plan_of(slim)


def test_functional_transforms_see_the_gradients_of_one_copy(slim):
    parameters = dict(slim.named_parameters())

    def loss(values, x):
        return torch.func.functional_call(slim, values, (x,)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, X[:, None])
    assert same([g.sum(0) for g in each.values()], gradients(slim, X), 1e-5)


def test_autocast_runs(slim):
    with torch.autocast("cpu", torch.bfloat16):
        assert slim(X).dtype == torch.bfloat16
        assert same([slim(X).float()], [slim(X)], 0.05)


def test_fold_gives_stock_modules_of_the_same_function(slim):
    before = copy.deepcopy(slim.state_dict())
    folded = fold(slim)
    assert [type(m) for m in folded] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert not any(isinstance(m, WeightedLayer) for m in folded.modules())
    assert not list(folded.buffers())
    assert same([folded(X)], [slim(X)], 1e-6)
    assert not same(gradients(folded, X), gradients(slim, X), 1e-2)
    assert {b.gauge for b in plan_of(folded).blocks} == {"folded"}
    assert all(torch.equal(v, slim.state_dict()[k]) for k, v in before.items())
    assert isinstance(slim[0], WeightedLinear)


def test_fold_keeps_flags_and_frozen_parameters(slim):
    frozen = copy.deepcopy(slim).eval()
    frozen[2].weight.requires_grad_(False)
    folded = fold(frozen)
    assert not folded[2].weight.requires_grad
    assert folded[4].weight.requires_grad
    assert not any(m.training for m in folded.modules())


def test_a_model_without_a_plan_is_refused():
    with pytest.raises(ValueError, match="this Linear has no compression plan; pass a slim model"):
        fold(nn.Linear(2, 2))


def test_plan_is_found_through_wrappers(slim):
    assert plan_of(nn.DataParallel(slim)) == plan_of(slim)
    attach_plan(other := nn.Linear(2, 2), Plan(()))
    assert plan_of(other) == Plan(())


def test_multiplicities_are_read_as_they_were_given():
    """One for each unit, also where a layer has several entries for each, in several fused parts."""
    net = nn.ModuleDict({"qkv": nn.Linear(4, 24), "out": nn.Linear(8, 4)})
    block = Located(
        "qkv", "attention", units_of(net, ("qkv",), "out", 2, sections=(3,)), activation_only=True
    )
    counts = torch.tensor([3.0, 2.0])
    assert multiplicities_of(net, block) is None
    count_units(net, block, counts)
    assert net["qkv"].output_multiplicities.tolist() == [3.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0] * 3
    assert net["out"].input_multiplicities.tolist() == [3.0] * 4 + [2.0] * 4
    assert torch.equal(multiplicities_of(net, block), counts)
    count_units(net, block, None)
    assert type(net["qkv"]) is nn.Linear
