import copy

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.slim.conversion import fold, plan_of
from jlab_compress.slim.storage import load, save
from jlab_compress.slim.weighted import WeightedLinear
from tests.models import mlp, rows
from tests.slim.saved import models as saved

X = rows(9, 6)


@pytest.fixture(scope="module")
def slim():
    return compress_baseline(mlp(6, 24, 16, 3), 8, calibration=rows(80, 6), method="k-means").model


@pytest.fixture
def path(slim, tmp_path):
    save(slim, tmp_path / "slim.safetensors")
    return tmp_path / "slim.safetensors"


def fresh(**options):
    return mlp(6, 24, 16, 3, seed=7, **options)


def test_a_slim_model_comes_back_into_a_fresh_original(slim, path):
    original = fresh()
    before = copy.deepcopy(original.state_dict())
    back = load(path, original)
    assert torch.equal(back(X), slim(X))
    assert plan_of(back) == plan_of(slim)
    assert isinstance(back[2], WeightedLinear)
    assert (back[2].in_features, back[2].out_features) == (8, 8)
    assert all(torch.equal(v, original.state_dict()[k]) for k, v in before.items())
    back(X).sum().backward()
    slim(X).sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(back.parameters(), slim.parameters(), strict=True))


def test_it_takes_the_dtype_and_flags_of_the_model_given(slim, path):
    back = load(path, fresh(dtype=torch.float32).eval())
    assert {t.dtype for t in back.state_dict().values()} == {torch.float32}
    assert not back.training
    assert torch.allclose(back(X.float()).double(), slim(X), atol=1e-5)
    with pytest.raises(ValueError, match="it is on the meta device"):
        load(path, fresh().to("meta"))


def test_a_plain_and_a_folded_model_come_back_as_stock_layers(slim, tmp_path):
    for model in (
        fold(slim),
        compress_baseline(mlp(6, 24, 16, 3), 8, calibration=rows(80, 6), method="greedy").model,
    ):
        save(model, tmp_path / "plain.safetensors")
        back = load(tmp_path / "plain.safetensors", fresh())
        assert type(back[0]) is nn.Linear
        assert torch.equal(back(X), model(X))


def test_tied_tensors_come_back(tmp_path):
    def build():
        net = nn.Sequential(*mlp(6, 24, 6), nn.Linear(6, 6).double(), nn.Linear(6, 6).double())
        net[4].weight = net[3].weight
        return net

    slim = compress_baseline(build(), {"0": 5}, calibration=rows(80, 6), method="random").model
    save(slim, tmp_path / "tied.safetensors")
    back = load(tmp_path / "tied.safetensors", build())
    assert back[4].weight is back[3].weight
    assert torch.equal(back(X), slim(X))


def test_a_file_is_replaced_and_nothing_else_is_left(slim, path):
    path.write_bytes(b"old")
    save(slim, path)
    assert torch.equal(load(path, fresh())(X), slim(X))
    assert [p.name for p in path.parent.iterdir()] == ["slim.safetensors"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (mlp(6, 25, 16, 3), "block 0 of the file needs a layer 0 with 24 neurons, this model has 25"),
        (nn.Sequential(nn.ReLU(), nn.Linear(40, 40)), "needs a layer 0 with 24 neurons, this model has none"),
        (nn.Sequential(nn.ReLU()), "it holds [0-9]+ numbers, a slim form of this model at most 1"),
        (mlp(6, 24, 16, 4), r"another architecture .4.weight would be .4, 8. here and is .3, 8."),
        (
            nn.Sequential(*mlp(6, 24, 16, 3), nn.Linear(3, 3)),
            "another architecture .5.weight would be .3, 3. here and is missing",
        ),
    ],
)
def test_another_architecture_is_refused(path, model, words):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=words):
        load(path, model)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


def test_a_changed_file_is_refused(path):
    tensors = load_file(path)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ValueError, match="was changed after it was written"):
        load(path, fresh())
    path.write_bytes(data.replace(b'width_after\\": 8', b'width_after\\": 9'))
    with pytest.raises(ValueError, match="was changed after it was written"):
        load(path, fresh())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        load(path, fresh())
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"was not written by jlab_compress.save .its format is unknown"):
        load(path, fresh())


def test_paths_that_cannot_be_used_are_refused(slim, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path / "none", fresh())
    with pytest.raises(OSError, match=r"^path: cannot write .*missing.*No such file.* choose another place"):
        save(slim, tmp_path / "missing" / "slim.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"^path: cannot write .*folder.*Is a directory.* choose another place"):
        save(slim, tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(ValueError, match="has no compression plan"):
        save(fresh(), tmp_path / "slim")


@pytest.mark.parametrize("name", saved.MODELS)
def test_a_model_that_the_first_version_saved_comes_back(name):
    """Its file names the layers of a block; the axes of the units follow from the model."""
    x, (expected, stepped) = saved.inputs(name), saved.expected(name)
    back = load(saved.HERE / f"{name}.safetensors", saved.fresh(name))
    with torch.no_grad():
        assert torch.allclose(back(x), expected, rtol=1e-12, atol=1e-12)
    saved.step(back, x)
    with torch.no_grad():
        assert torch.allclose(back(x), stepped, rtol=1e-12, atol=1e-12)
        assert (stepped - expected).norm() > 1e-6 * expected.norm()


def test_a_file_of_the_first_version_is_saved_as_one_of_this(tmp_path):
    old = saved.HERE / "depthwise.safetensors"
    back = load(old, saved.fresh("depthwise"))
    (block,) = plan_of(back).blocks
    assert [(unit.name, unit.axis, unit.role) for unit in block.units][:2] == [
        ("0.weight", 0, "makes"),
        ("1.weight", 0, "treats"),
    ]
    save(back, tmp_path / "new")
    again = load(tmp_path / "new", saved.fresh("depthwise"))
    assert plan_of(again) == plan_of(back)
    with safe_open(tmp_path / "new", framework="pt") as file, safe_open(old, framework="pt") as first:
        assert file.metadata()["format"] == "jlab-compress 2"
        assert first.metadata()["format"] == "jlab-compress 1"


@pytest.mark.parametrize(
    ("name", "model", "words"),
    [
        ("mlp", mlp(4, 24, 8, 3), "block 0 of the file needs a layer 0 with 12 neurons, this model has 24"),
        ("mlp", mlp(4, 12, 16, 3), "block 2 of the file needs a layer 2 with 8 neurons, this model has 16"),
        ("heads", mlp(4, 12, 3), "block attention of the file .* this model has none"),
        ("heads", saved.HandWritten(fused=True), "needs a layer attention .* this model has none"),
        ("conv", saved.depthwise(), "needs a layer 3 with 8 neurons, this model has 1"),
    ],
)
def test_a_file_of_the_first_version_for_another_architecture_is_refused(name, model, words):
    with pytest.raises(ValueError, match=words):
        load(saved.HERE / f"{name}.safetensors", model)
