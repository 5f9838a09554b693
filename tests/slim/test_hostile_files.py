"""A file that was made to harm is refused in one sentence, or is the model that it says, and costs little."""

import copy
import json
import re
import resource
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.slim.conversion import plan_of
from jlab_compress.slim.copies import stored_state
from jlab_compress.slim.storage import load, save
from tests.models import mlp, rows
from tests.slim.hostile import WAYS, Signed, changed, put_together, spoilt, taken_apart
from tests.slim.saved import models as saved


class Property:
    """An attribute of a user's class that must not be read."""

    def __get__(self, owner, kind=None):
        raise AssertionError("an attribute of the user's class was read")


class Guarded(nn.Sequential):
    name = secret = incoming = Property()


def guarded():
    return Guarded(*mlp(6, 24, 16, 3, seed=7))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("slim") / "slim"
    save(compress_baseline(mlp(6, 24, 16, 3), 8, calibration=rows(80, 6), method="k-means").model, path)
    return path.read_bytes()


def by_hand(stored, x):
    """Return what tensors of the file give, with numpy."""
    for name in ("0", "2", "4"):
        weight = stored[f"{name}.weight"] * stored.get(f"{name}.input_multiplicities", np.ones(1))
        x = x @ weight.T + stored[f"{name}.bias"]
        x = np.maximum(x, 0) if name != "4" else x
    return x


def loaded(path, model):
    """Return what `load` gives, or its sentence; the model given stays as it is in either case."""
    before = copy.deepcopy(model.state_dict())
    try:
        return load(path, model)
    except (ValueError, OSError) as error:
        return str(error)
    finally:
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_spoilt_files_are_refused_or_are_what_they_say(data, tmp_path):
    others = [(saved.HERE / f"{name}.safetensors").read_bytes() for name in ("mlp", "conv", "heads", "gated")]
    path, x, came = tmp_path / "spoilt", rows(5, 6), []
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for way, content in spoilt(data, 136, others):
        path.write_bytes(content)
        begin = time.perf_counter()
        found = loaded(path, guarded())
        assert time.perf_counter() - begin < 2, way
        if isinstance(found, str):
            assert re.fullmatch(r"(path|model|plan): .{10,490}", found), (way, found)
            continue
        came.append(way)
        stored = {name: tensor.double().numpy() for name, tensor in load_file(path).items()}
        assert set(stored_state(found)) == set(stored)
        assert np.allclose(found(x).detach().numpy(), by_hand(stored, x.numpy()), atol=1e-12)
        if way != "first_plan":
            assert json.loads(plan_of(found).to_json()) == json.loads(Signed(content).plan)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start < 2**20  # KiB
    assert 0 < len(came) < 40


@pytest.mark.parametrize("name", saved.MODELS)
def test_spoilt_files_of_every_kind_of_block_end_in_a_sentence(name, tmp_path):
    data, path = (saved.HERE / f"{name}.safetensors").read_bytes(), tmp_path / "spoilt"
    for way, content in spoilt(data, 2 * len(WAYS), [data], seed=1):
        path.write_bytes(content)
        found = loaded(path, saved.fresh(name))
        if isinstance(found, str):
            assert re.fullmatch(r"(path|model|plan): .{10,490}", found), (way, found)
        else:
            assert found(saved.inputs(name)).shape == saved.expected(name)[0].shape, way


FIRST = {
    "name": "0", "kind": "mlp", "incoming": ["0"], "outgoing": "2", "width_before": 24, "width_after": 8,
    "method": "k-means", "gauge": "weighted", "indices": None, "multiplicities": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [{"incoming": ["name"]}, {"incoming": ["0", "secret"]}, {"outgoing": "name"}, {"norm": "incoming"}],
)
def test_names_of_a_plan_are_looked_up_among_layers_only(names, data, tmp_path):
    file = Signed(data)
    file.metadata["format"] = "jlab-compress 1"
    file.plan = json.dumps({"blocks": [{**FIRST, **names}], "preserve": "dynamics", "seed": 0})
    (tmp_path / "slim").write_bytes(file.whole())
    with pytest.raises(ValueError, match=r"needs a layer (name|secret|incoming) with .* has none"):
        load(tmp_path / "slim", guarded())


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("units", 0, "tensor"), "secret", "needs a layer 0 with 24 neurons, this model has none"),
        (("units", 0, "tensor"), "__class__", "needs a layer 0 with 24 neurons, this model has none"),
        (("units", 0, "module"), "secret", "needs a layer secret with 24 neurons, this model has none"),
        (("units", 0, "role"), "reads", "no layer that makes its units|another meaning than its layer has"),
        (("units", 1, "tensor"), "weight", "axis 0 of 0.weight another meaning"),
        (("units", 0, "axis"), True, "a unit: expected axis to be whole numbers from 0"),
        (("width_after",), 25, "became wider, from 24 to 25 units"),
        (("indices",), [0, 1], "a block of 8 units has 2 indices"),
        (("indices",), [24] * 8, "a block of 24 units has an index beyond them"),
        (("multiplicities",), [1.0] * 7 + [float("nan")], "multiplicities to be a list of positive numbers"),
        (("multiplicities",), [1.0] * 7 + [-1.0], "multiplicities to be a list of positive numbers"),
    ],
)
def test_every_field_of_a_plan_is_held_to_its_type_and_range(place, value, words, data, tmp_path):
    file = Signed(data)
    file.plan = json.dumps(changed(json.loads(file.plan), ("blocks", 0, *place), value))
    (tmp_path / "slim").write_bytes(file.whole())
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "slim", guarded())


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "0.weight",
            lambda w: w.astype(np.int8),
            "0.weight of the file holds torch.int8 and must hold float",
        ),
        ("2.bias", lambda w: w.astype(bool), "2.bias of the file holds torch.bool and must hold float"),
        ("2.weight", lambda w: w.astype(np.complex64), "holds torch.complex64 and must hold float"),
        ("0.output_multiplicities", lambda c: c.astype(np.int64), "holds torch.int64 and must hold float"),
        ("0.output_multiplicities", lambda c: c[:, None], r"would be \[8\] here and is \[8, 1\]"),
        ("2.input_multiplicities", lambda c: np.append(c, 1.0), r"would be \[8\] here and is \[9\]"),
        ("0.output_multiplicities", lambda c: np.where(c == c[0], np.nan, c), "must hold numbers above 0"),
        ("0.output_multiplicities", lambda c: -c, "must hold numbers above 0"),
        ("0.output_multiplicities", lambda c: 0 * c, "must hold numbers above 0"),
        ("0.output_multiplicities", lambda c: np.inf * c, "must hold numbers above 0"),
        (
            "2.input_multiplicities",
            lambda c: 2 * c,
            "must hold the multiplicities of 0.output_multiplicities",
        ),
        (
            "2.input_multiplicities",
            lambda c: None,
            "has 0.output_multiplicities but no 2.input_multiplicities",
        ),
    ],
)
def test_every_tensor_is_held_to_its_type_and_range(name, change, words, data, tmp_path):
    file = Signed(data)
    changed_array = change(file.array(name))
    file.put(name, changed_array)
    (tmp_path / "slim").write_bytes(file.whole())
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "slim", guarded())


def test_a_giant_is_refused_before_it_is_read(data, tmp_path):
    """The file has 4 GB by its length and none on the disk."""
    header, body = taken_apart(data)
    name, path = "4.weight", tmp_path / "slim"
    header[name] = {"dtype": "F64", "shape": [2**29], "data_offsets": [len(body), len(body) + 2**32]}
    header["hole"] = {
        "dtype": "F64",
        "shape": [3, 8],
        "data_offsets": taken_apart(data)[0][name]["data_offsets"],
    }
    path.write_bytes(put_together(header, body))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 2**32)
    with pytest.raises(
        ValueError, match=r"it holds [0-9]+ numbers, a slim form of this model at most 1\d\d\d\)"
    ):
        load(path, guarded())


def test_a_header_of_millions_of_names_is_not_read(tmp_path):
    path, text = tmp_path / "slim", b"{" + b",".join(b'"%d":""' % i for i in range(2**21)) + b"}"
    path.write_bytes(put_together(text, b""))
    with pytest.raises(ValueError, match=r"its header has [0-9]+ bytes, expected at most 16777216"):
        load(path, guarded())
