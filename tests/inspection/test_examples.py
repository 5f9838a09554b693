"""Made-up inputs, few rows, and neighbours by registration."""

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from jlab_compress.execution.calls import Call
from jlab_compress.inspection.examples import call_that_runs, example_call, fault_of, neighbours
from tests.models import mlp, rows


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Linear(5, 2), (2, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 2)), (2, 784)),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1)), (2, 3, 32, 32)),
        (nn.Conv1d(4, 2, 3), (2, 4, 64)),
        (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2)), (2, 8)),
        (nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), (2, 7, 8)),
    ],
)
def test_inputs_are_made_up_from_the_first_layer(model, shape):
    call = example_call(model)
    assert call.tensors[0].shape == shape
    assert fault_of(model, call) is None


def test_inputs_of_the_transformers_library_and_of_other_dtypes():
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    call = example_call(BertModel(BertConfig(vocab_size=40, **small)))
    assert "input_ids" in call.kwargs
    assert example_call(mlp(4, 8, 2)).tensors[0].dtype == torch.float64
    assert example_call(nn.ReLU()) is None


def test_few_rows_are_enough_unless_the_model_needs_them_all():
    whole = Call((rows(20, 4),))
    assert call_that_runs(mlp(4, 8, 2), whole, "calibration").rows == 8

    class Fixed(nn.Linear):
        def forward(self, x):
            return super().forward(x.view(20, 4))

    assert call_that_runs(Fixed(4, 2).double(), whole, "calibration") is whole
    with pytest.raises(
        ValueError, match=r"calibration: the model fails on them .RuntimeError.*what its forward"
    ):
        call_that_runs(mlp(5, 8, 2), whole, "calibration")


def test_neighbours_fit_and_nothing_with_parameters_stands_between():
    net = nn.Sequential(mlp(4, 8, 6), nn.LayerNorm(6), nn.Linear(6, 2), nn.Linear(3, 2))
    assert neighbours(net) == [("0.0", "0.2")]
