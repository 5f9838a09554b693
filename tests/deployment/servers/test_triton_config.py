"""Triton's configuration, read back by Triton's own format."""

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from jlab_compress.deployment.onnx.form import Form, Port
from jlab_compress.deployment.servers.triton_config import as_served, triton_config

IDS = Port("ids", "int64", ("batch", "sequence"))
SCORE = Port("score", "float32", ("batch",))
EXAMPLE = {"ids": np.zeros((2, 5), np.int64)}


def read(form, example=EXAMPLE):
    return text_format.Parse(triton_config("net", form, example), model_config_pb2.ModelConfig())


def test_a_batch_is_joined_and_warmed_up_at_the_sizes_of_the_example():
    config = read(Form(18, 8, (IDS,), (SCORE,), {}))
    assert (config.name, config.backend, config.max_batch_size) == ("net", "onnxruntime", 64)
    assert [w.batch_size for w in config.model_warmup] == [1, 64]
    assert list(config.model_warmup[0].inputs["ids"].dims) == [5]
    assert config.version_policy.latest.num_versions == 2


def test_types_and_dimensions_are_the_files_own():
    (ids,), (score,) = (lambda c: (c.input, c.output))(read(Form(18, 8, (IDS,), (SCORE,), {})))
    assert (ids.data_type, list(ids.dims)) == (model_config_pb2.TYPE_INT64, [-1])
    assert (score.data_type, list(score.dims)) == (model_config_pb2.TYPE_FP32, [1])
    assert score.HasField("reshape")


def test_an_output_without_the_batch_means_that_requests_are_not_joined():
    form = Form(18, 8, (IDS,), (Port("mean", "float32", (3,)),), {})
    config = read(form)
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert not config.model_warmup
    assert list(config.input[0].dims) == [-1, -1]


@pytest.mark.parametrize(("outputs", "shape"), [((SCORE,), (2, 1)), ((Port("m", "float32", (3,)),), (2,))])
def test_a_batch_of_single_numbers_is_sent_as_a_column_where_requests_are_joined(outputs, shape):
    single = Port("x", "float32", ("batch",))
    sent = as_served({"x": np.ones(2)}, Form(18, 8, (single,), outputs, {}))
    assert sent["x"].shape == shape
