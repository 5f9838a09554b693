import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.compression.signals.block_rows import gather_rows
from jlab_compress.execution.inputs import read_batches
from jlab_compress.graph.residual import Residual
from jlab_compress.inspection.find import find_blocks
from tests.models import mlp, rows, seeded

X = rows(30, 5, 8)


def encoder(norm_first):
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double().eval()


@pytest.mark.parametrize(
    ("norm_first", "expected"),
    [
        (False, [Residual("layers.0.norm2", True), Residual("layers.1.norm2", True)]),
        (True, [Residual("layers.1.norm1", False), None]),
    ],
)
def test_the_norm_behind_the_residual_sum_is_found(norm_first, expected):
    assert [b.residual for b in find_blocks(seeded(encoder, norm_first), X).by_default] == expected


def test_a_block_without_a_residual_stream_has_none():
    assert find_blocks(mlp(4, 8, 2))[0].residual is None


def gathered(original, slim, block):
    calls, _ = read_batches(original, X)
    return gather_rows(original, slim, block, calls, follows_slim=slim is not original, seed=0)


def test_stream_and_targets_add_up_to_the_originals_sum_through_its_norm():
    model = seeded(encoder, False)
    first, second = find_blocks(model, X).by_default
    slim = compress_baseline(model, {first.name: 4}, calibration=X, method="random").model
    with torch.no_grad():
        after = model.layers[0](X)
        expected, seen = model(X).reshape(-1, 8), slim.layers[0](X)
        assert torch.allclose(
            gathered(model, model, first).targets, model.layers[0]._ff_block(after_attention(model, X))
        )
    found = gathered(model, slim, second)
    assert torch.allclose(found.post_norm.norm(found.post_norm.stream + found.targets), expected)
    attended = after_attention(slim, seen, 1)
    assert torch.allclose(found.inputs, attended)
    assert torch.allclose(found.post_norm.stream, attended)
    assert not torch.allclose(seen, after, atol=1e-3)


def after_attention(model, x, index=0):
    layer = model.layers[index]
    with torch.no_grad():
        return layer.norm1(x + layer._sa_block(x, None, None)).reshape(-1, 8)
