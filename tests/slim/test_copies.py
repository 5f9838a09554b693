"""What tools, training loops and checkpoints see of one copy of a weight, and of c times that."""

import copy
import pickle
import warnings

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.func import functional_call
from torch.nn.utils import parametrizations, prune

from jlab_compress.compression.compress import compress
from jlab_compress.slim.conversion import fold, set_multiplicities
from jlab_compress.slim.copies import ReadWeight
from jlab_compress.slim.operators import operator_of
from jlab_compress.slim.storage import load, save
from jlab_compress.slim.weighted import WeightedLinear
from tests.models import mlp, repeat_units, rows

X = rows(40, 5)
COUNTS = torch.tensor([3.0, 1.0, 2.0, 5.0]).double()
REFUSED = r"slim layer: .*jlab_compress\.fold\(model\) first"


@pytest.fixture
def wide():
    net = mlp(5, 4, 3, activation=nn.Tanh)
    repeat_units([net[0]], net[2], 3)
    return net


@pytest.fixture
def slim(wide):
    return compress(wide, 4, calibration=X, progress=False).model


def reading(kind):
    """Return a layer that reads units with multiplicities, the same layer over all copies, and inputs."""
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    few = {"linear": nn.Linear(4, 2), "conv": nn.Conv2d(4, 2, 2), "conv1d": Conv1D(2, 4)}[kind].double()
    copies = torch.repeat_interleave(torch.arange(4), COUNTS.long())
    axis = 0 if kind == "conv1d" else 1
    full = copy.deepcopy(few)
    full.weight = nn.Parameter(few.weight.detach().index_select(axis, copies))
    inputs = rows(6, 4, 3, 3) if kind == "conv" else rows(6, 4)
    expected = full(inputs[:, copies]).detach()
    set_multiplicities(few, operator_of(few), "input_multiplicities", COUNTS)
    return few, expected, inputs


KINDS = ["linear", "conv", "conv1d"]


def rebuilt(layer, weight):
    """Return a stock layer of the same kind with a weight, as conversions build it."""
    stock = copy.deepcopy(layer)
    for name in ("input_multiplicities", "output_multiplicities"):
        delattr(stock, name)
    stock.__class__ = vars(stock).pop("stock_class", operator_of(layer).stock)
    stock.weight = nn.Parameter(weight)
    return stock


TAKEN = {
    "detach": lambda layer: layer.weight.detach().clone(),
    "data": lambda layer: layer.weight.data.clone(),
    "state dict": lambda layer: layer.state_dict()["weight"].clone(),
    "copy_": lambda layer: torch.empty(layer.weight.shape, dtype=layer.weight.dtype).copy_(layer.weight.data),
    "numpy": lambda layer: torch.from_numpy(layer.weight.detach().numpy().copy()),
}


@pytest.mark.parametrize("taken", TAKEN)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_built_from_the_weight_computes_what_all_copies_compute(kind, taken):
    layer, expected, x = reading(kind)
    assert torch.allclose(rebuilt(layer, TAKEN[taken](layer))(x), expected, rtol=1e-12)
    assert not torch.allclose(rebuilt(layer, layer.weight_of_one.detach())(x), expected, rtol=0.1)


def test_a_merged_adapter_adds_what_it_added(slim):
    """A tool that builds a new layer from the weight and low-rank factors."""
    down, up = rows(2, 4, seed=1), rows(3, 2, seed=2)
    hidden, expected = slim[:2](X), slim(X) + slim[:2](X) @ down.T @ up.T
    merged = nn.Linear(4, 3).double()
    merged.weight.data = slim[2].weight.data + up @ down
    merged.bias.data = slim[2].bias.data.clone()
    assert torch.allclose(merged(hidden), expected, rtol=1e-12)


def assigned(layer, weight):
    layer.weight = nn.Parameter(weight)


WRITES = {
    "data +=": lambda layer: setattr(layer.weight, "data", layer.weight.data + 1),
    "data.add_": lambda layer: layer.weight.data.add_(1),
    "add_": lambda layer: layer.weight.add_(1),
    "+=": lambda layer: layer.weight.__iadd__(torch.ones(())),
    "detach().mul_": lambda layer: layer.weight.detach().mul_(2),
    "a row": lambda layer: layer.weight.__setitem__(0, 0.0),
    "a row of data": lambda layer: layer.weight.data[0].zero_(),
    "transposed": lambda layer: layer.weight.data.T.mul_(2),
    "foreach": lambda layer: torch._foreach_mul_([layer.weight], 2.0),
    "out=": lambda layer: torch.add(torch.ones(3, 4), 1, out=layer.weight),
    "init": lambda layer: nn.init.xavier_uniform_(layer.weight),
    "replaced": lambda layer: assigned(layer, layer.weight.detach() + 1),
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "weight_norm": lambda layer: parametrizations.weight_norm(layer),
    "spectral_norm": lambda layer: parametrizations.spectral_norm(layer),
    "orthogonal": lambda layer: parametrizations.orthogonal(layer),
    "old weight_norm": lambda layer: nn.utils.weight_norm(layer),
    "old spectral_norm": lambda layer: nn.utils.spectral_norm(layer),
    "batch norm": lambda layer: nn.utils.fusion.fuse_linear_bn_eval(
        layer.eval(), nn.BatchNorm1d(3).double().eval()
    ),
    "scripted": lambda layer: torch.jit.script(layer),
    "traced by fx": lambda layer: torch.fx.symbolic_trace(nn.Sequential(layer)),
    "quantised": lambda layer: torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {nn.Linear}),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("grad", [True, False])
def test_what_would_be_lost_is_refused_and_leaves_the_layer(slim, write, grad):
    expected, names, hooks = slim(X), list(dict(slim.named_parameters())), dict(slim[2]._forward_pre_hooks)
    parameters = list(slim.parameters())
    with warnings.catch_warnings(), torch.set_grad_enabled(grad):
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=REFUSED):
            WRITES[write](slim[2])
    assert torch.equal(slim(X), expected)
    assert list(dict(slim.named_parameters())) == names
    assert all(a is b for a, b in zip(slim.parameters(), parameters, strict=True))
    assert slim[2]._forward_pre_hooks == hooks
    assert torch.allclose(fold(slim)(X), expected)


@pytest.mark.parametrize(
    "write",
    ["pruned", "weight_norm", "spectral_norm", "old weight_norm", "old spectral_norm"],
)
def test_a_layer_that_only_makes_units_cannot_be_reparametrised_either(slim, write):
    expected, parameters = slim(X), list(slim.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=REFUSED):
            WRITES[write](slim[0])
    assert torch.equal(slim(X), expected)
    assert all(a is b for a, b in zip(slim.parameters(), parameters, strict=True))


def test_a_folded_layer_can_be_changed_in_every_way(slim):
    folded = fold(slim)
    prune.l1_unstructured(folded[2], "weight", 0.5)
    parametrizations.weight_norm(folded[0])
    folded[2].weight.data.add_(1)
    assert torch.isfinite(folded(X)).all()
    quantised = torch.ao.quantization.quantize_dynamic(fold(slim).float(), {nn.Linear})
    assert torch.allclose(quantised(X.float()).double(), slim(X), atol=0.05)


def test_gradients_through_the_weight_are_refused_and_those_of_one_copy_are_right(slim):
    """A penalty by the weight of all copies would pull each of them c times too hard."""
    with pytest.raises(ValueError, match="its `weight` cannot be differentiated"):
        slim[2].weight.square().sum()
    with pytest.raises(ValueError, match="cannot be differentiated"):
        nn.functional.linear(rows(2, 4), slim[2].weight)
    slim[2].weight_of_one.square().sum().backward()
    assert torch.equal(slim[2].weight.grad, 2 * slim[2].weight_of_one)
    slim[2].weight.requires_grad_(False)
    assert not slim[2].weight_of_one.requires_grad
    assert slim[2].weight.square().sum() > slim[2].weight_of_one.square().sum()


def test_what_is_about_the_parameter_goes_through_to_it(slim):
    layer, seen = slim[2], []
    layer.weight._no_weight_decay = True
    layer.weight.register_hook(lambda grad: seen.append(grad.shape))
    slim(X).sum().backward()
    assert layer.weight_of_one._no_weight_decay
    assert layer.weight._no_weight_decay
    assert seen == [layer.weight.shape]
    assert layer.weight.grad is layer.weight_of_one.grad
    layer.weight.grad = None
    assert layer.weight_of_one.grad is None
    with pytest.raises(AttributeError, match="infshape"):
        _ = layer.weight.infshape
    assert isinstance(layer.weight, ReadWeight)
    assert (layer.weight.dtype, layer.weight.shape, layer.weight.is_leaf) == (torch.float64, (3, 4), True)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Adagrad])
def test_an_optimizer_that_is_given_weights_trains_the_parameters(slim, optimizer):
    twin = copy.deepcopy(slim)
    given = optimizer([{"params": [slim[2].weight, slim[0].weight]}, {"params": slim[2].bias}], lr=0.1)
    right = optimizer([twin[2].weight_of_one, twin[0].weight, twin[2].bias], lr=0.1)
    for model, made in ((slim, given), (twin, right)):
        for _ in range(3):
            made.zero_grad()
            model(X).square().sum().backward()
            made.step()
    assert all(torch.equal(a, b) for a, b in zip(slim.parameters(), twin.parameters(), strict=True))
    assert given.param_groups[0]["params"][0] is slim[2].weight_of_one
    assert given.state[slim[2].weight].keys() == given.state[slim[2].weight_of_one].keys()


@pytest.mark.parametrize("options", [{}, {"assign": True}], ids=["copied", "assigned"])
def test_a_state_dict_gives_the_same_bits_back(slim, options):
    state = copy.deepcopy(slim.state_dict())
    assert torch.allclose(state["2.weight"], 3 * state["2.weight_of_one"])
    other = copy.deepcopy(slim)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.7)
    other.load_state_dict(state, **options)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), slim.parameters(), strict=True))
    other.load_state_dict({k: v.bfloat16().double() for k, v in state.items()})
    assert torch.allclose(other(X), slim(X), atol=0.1)


def test_a_state_dict_taken_by_a_stock_model_computes_the_same(slim):
    stock = mlp(5, 4, 3, activation=nn.Tanh)
    with pytest.raises(RuntimeError, match="input_multiplicities"):
        stock.load_state_dict(slim.state_dict())
    stock.load_state_dict(slim.state_dict(), strict=False)
    assert torch.allclose(stock(X), slim(X), rtol=1e-12)


def test_a_state_dict_that_may_mean_either_is_refused_and_changes_nothing(slim):
    before = copy.deepcopy(slim.state_dict())
    for state in (fold(slim).state_dict(), dict(slim.named_parameters())):
        with pytest.raises(RuntimeError, match=r"2\.weight comes without 2\.weight_of_one.*fold\(model\)"):
            slim.load_state_dict(state, strict=False)
    merged = copy.deepcopy(slim.state_dict())
    merged["2.weight"] += 0.1
    with pytest.raises(RuntimeError, match=r"2\.weight was changed and 2\.weight_of_one was not"):
        slim.load_state_dict(merged)
    assert all(torch.equal(value, before[name]) for name, value in slim.state_dict().items())


def test_a_state_dict_of_an_earlier_version_has_one_copy_for_the_weight(slim):
    state = copy.deepcopy(slim.state_dict())
    state["2.weight"] = state.pop("2.weight_of_one")
    other = copy.deepcopy(slim)
    with pytest.raises(RuntimeError, match="comes without"):
        other.load_state_dict(state)
    state._metadata["2"]["version"] = 1
    with torch.no_grad():
        other[2].weight_of_one.zero_()
    other.load_state_dict(state)
    assert torch.equal(other(X), slim(X))


def test_files_keep_one_copy(wide, slim, tmp_path):
    save(slim, tmp_path / "slim")
    back = load(tmp_path / "slim", wide)
    assert torch.equal(back[2].weight_of_one, slim[2].weight_of_one)
    again = pickle.loads(pickle.dumps(slim))
    assert torch.equal(again[2].weight_of_one, slim[2].weight_of_one)


def test_parameters_put_in_by_a_function_are_one_copy(slim):
    twice = {name: 2 * value for name, value in slim.named_parameters()}
    other = copy.deepcopy(slim)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(2)
    assert torch.equal(functional_call(slim, twice, (X,)), other(X))


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_a_sharded_model_trains_and_is_checkpointed(slim, one_process, tmp_path):
    sharded, whole = copy.deepcopy(slim), StateDictOptions(full_state_dict=True)
    for part in (sharded[0], sharded[2], sharded):
        fully_shard(part, mesh=one_process)
    for model in (slim, sharded):
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
        for _ in range(3):
            optimizer.zero_grad()
            model(X).square().sum().backward()
            optimizer.step()
    assert torch.equal(sharded(X), slim(X))
    state = copy.deepcopy(get_model_state_dict(sharded, options=whole))
    assert {name: value.tolist() for name, value in state.items()} == {
        name: value.tolist() for name, value in slim.state_dict().items()
    }
    with torch.no_grad():
        for parameter in sharded.parameters():
            parameter.zero_()
    set_model_state_dict(sharded, state, options=whole)
    assert torch.equal(sharded(X), slim(X))
    save(sharded, tmp_path / "sharded")
    assert torch.equal(load(tmp_path / "sharded", mlp(5, 12, 3, activation=nn.Tanh))(X), slim(X))


def test_layers_without_multiplicities_to_read_are_as_ever():
    layer = WeightedLinear(3, 2, output_multiplicities=torch.tensor([2.0, 1.0]))
    assert layer.weight is layer.weight_of_one
    assert "weight_of_one" not in layer.state_dict()
    layer.weight = nn.Parameter(torch.ones(2, 3))
    assert torch.equal(layer.weight_of_one, torch.ones(2, 3))
