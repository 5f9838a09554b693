"""Files on disk: whole, stamped with where they come from, the same bytes for the same model."""

import hashlib
import json
import os

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from jlab_compress.deployment.onnx import files
from jlab_compress.deployment.onnx.files import (
    bytes_of,
    files_of,
    form_of,
    publish,
    restamp,
    sha256_of,
    source_hash,
    stamp,
    write_graph,
)
from jlab_compress.deployment.onnx.form import Port
from jlab_compress.slim.conversion import plan_of
from tests.deployment.networks import slim_mlp


def graph(size=4):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name in ("x", "y")]
    weight = onnx.numpy_helper.from_array(np.ones(size, np.float32), "w")
    made = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])], "net", [ports[0]], [ports[1]], [weight]
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_a_stamp_says_where_a_file_comes_from_and_replaces_another():
    slim, _ = slim_mlp()
    made = graph()
    stamp(made, slim, plan_of(slim), {"function_gap": 0.5})
    stamp(made, slim, plan_of(slim), {"precision": "int8"})
    found = form_of(made).metadata
    assert json.loads(found["jlab_compress.facts"]) == {"precision": "int8"}
    assert json.loads(found["jlab_compress.blocks"]) == {"0": [10, 6, "exact duplicates"]}
    assert json.loads(found["jlab_compress.multiplicity_totals"]) == {"3": 10.0}
    assert found["jlab_compress.source_sha256"] == source_hash(slim)
    assert made.producer_name == "jlab-compress"


def test_a_model_without_a_plan_has_no_blocks():
    made = graph()
    stamp(made, nn.Linear(2, 2), None, {})
    assert form_of(made).metadata["jlab_compress.blocks"] == "{}"


def test_the_form_of_a_graph():
    found = form_of(graph())
    assert (found.opset, found.ir_version, found.metadata) == (18, 8, {})
    assert found.inputs == (Port("x", "float32", ("batch", 4)),)
    assert found.is_batched


def test_the_source_hash_is_of_every_bit_name_and_shape():
    one = nn.Linear(2, 2)
    before = source_hash(one)
    assert source_hash(nn.Sequential(one)) != before
    with torch.no_grad():
        one.weight[0, 0] += 1e-6
    assert source_hash(one) != before


@pytest.mark.parametrize("largest", [2**31, 100])
def test_a_file_and_its_weights_move_together(largest, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_SINGLE_FILE", largest)
    room = tmp_path / "room"
    room.mkdir()
    write_graph(graph(4096), room / "m.onnx")
    apart = largest < 4096
    names = [p.name for p in files_of(room / "m.onnx")]
    assert [name[:7] + name[-5:] for name in names] == ["m.onnx..data", "m.onnx.onnx"][0 if apart else 1 :]
    publish(room / "m.onnx", tmp_path / "m.onnx")
    assert list(room.iterdir()) == []
    assert 4 * 4096 < bytes_of(tmp_path / "m.onnx") < 4 * 4096 + 2000
    assert ((tmp_path / "m.onnx").stat().st_size < 2000) == apart
    weight = onnx.numpy_helper.to_array(onnx.load(tmp_path / "m.onnx").graph.initializer[0])
    assert weight.sum() == 4096


def graph_of(value, size=4096):
    made = graph(size)
    made.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full(size, value, np.float32), "w"))
    return made


def sum_in(path):
    return onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]).sum()


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_an_old_file_keeps_its_weights_until_the_new_one_is_in_its_place(moved, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_SINGLE_FILE", 100)
    (tmp_path / "room").mkdir()
    write_graph(graph_of(1.0), tmp_path / "m.onnx")
    write_graph(graph_of(2.0), tmp_path / "room" / "m.onnx")
    moves = [os.replace] * moved + [cut]
    monkeypatch.setattr(os, "replace", lambda *given: moves.pop(0)(*given))
    if moved < 2:
        with pytest.raises(KeyboardInterrupt, match="while moving"):
            publish(tmp_path / "room" / "m.onnx", tmp_path / "m.onnx")
        assert sum_in(tmp_path / "m.onnx") == 4096
    else:
        publish(tmp_path / "room" / "m.onnx", tmp_path / "m.onnx")
        assert sum_in(tmp_path / "m.onnx") == 2 * 4096
        assert len(list(tmp_path.glob("m.onnx*"))) == 2


def cut(*_):
    raise KeyboardInterrupt("while moving")


def test_a_small_file_takes_the_place_of_a_large_one_and_of_its_weights(tmp_path, monkeypatch):
    (tmp_path / "room").mkdir()
    write_graph(graph_of(2.0), tmp_path / "room" / "m.onnx")
    (tmp_path / "m.onnx.data").write_text("somebody else's")
    monkeypatch.setattr(files, "LARGEST_SINGLE_FILE", 100)
    write_graph(graph_of(1.0), tmp_path / "m.onnx")
    publish(tmp_path / "room" / "m.onnx", tmp_path / "m.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data", "room"]
    assert bytes_of(tmp_path / "m.onnx") == (tmp_path / "m.onnx").stat().st_size


def test_a_file_that_is_stamped_again_keeps_its_numbers(tmp_path):
    write_graph(graph(), tmp_path / "m.onnx")
    restamp(tmp_path / "m.onnx", nn.Linear(2, 2), None, {"precision": "float16"})
    found = onnx.load(tmp_path / "m.onnx")
    assert json.loads(form_of(found).metadata["jlab_compress.facts"]) == {"precision": "float16"}
    assert found.graph == graph().graph
    assert sha256_of(tmp_path / "m.onnx") == hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
