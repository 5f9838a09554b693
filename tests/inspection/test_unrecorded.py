"""Layers that no record tells apart are listed, locked."""

import pytest
import torch
from torch import nn

from jlab_compress.inspection.unrecorded import NOT_RUN, unconfirmed_layers, unseen_layers
from tests.models import mlp


@pytest.mark.parametrize(
    ("layer", "kind", "width", "words"),
    [
        (nn.GRU(3, 8), "recurrent", 8, "is recurrent"),
        (nn.LSTMCell(3, 8), "recurrent", 8, "is recurrent"),
        (nn.ConvTranspose1d(3, 5, 2), "conv", 5, "is a transposed convolution"),
    ],
)
def test_recurrent_and_transposed_layers(layer, kind, width, words):
    (block,) = unseen_layers(nn.Sequential(layer, nn.Linear(8, 2)))
    assert (block.name, block.kind, block.width, block.units) == ("0", kind, width, ())
    assert words in block.locked


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_layers():
    net = torch.ao.quantization.quantize_dynamic(mlp(4, 8, 2, dtype=torch.float32), {nn.Linear})
    assert [(b.name, b.width, "quantised" in b.locked) for b in unseen_layers(net)] == [
        ("0", 8, True),
        ("2", 2, True),
    ]


def test_neighbours_of_a_model_that_did_not_run():
    (block,) = unconfirmed_layers(mlp(4, 8, 2))
    assert (block.name, block.outgoing, block.width, block.locked) == ("0", "2", 8, NOT_RUN)
    assert (block.dimension, block.parameters) == (4 + 1 + 2, 8 * 7)
    assert unconfirmed_layers(nn.Linear(3, 2)) == []
