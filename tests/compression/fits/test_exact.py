import torch
from torch import nn

from jlab_compress.compression.fits.exact import exact_fit
from jlab_compress.fitting.layer import Layer

W = torch.tensor([[1.0, 0.0], [2.0, 1.0], [1.0, 0.0], [3.0, 0.0], [2.0, 1.0], [1.0, 0.0]])
LAYER = Layer((W,), (W[:, 0],), W.flip(1), None, torch.ones(6), torch.tanh)


def test_copies_are_counted_and_named_by_their_first():
    fit = exact_fit(LAYER, 3)
    assert fit.indices.tolist() == [0, 1, 3]
    assert fit.layer.multiplicities.tolist() == [3.0, 2.0, 1.0]
    assert (fit.method, fit.function_error, fit.kernel_error, fit.trains_alike) == (
        "exact duplicates",
        0,
        0,
        True,
    )
    x = torch.randn(20, 2)
    assert torch.allclose(fit.layer(x), LAYER(x), atol=1e-6)


def test_a_layer_without_copies_is_kept_at_its_width_and_not_below():
    distinct = LAYER.select(torch.tensor([0, 1, 3]))
    assert exact_fit(distinct, 3).method == "kept"
    assert exact_fit(distinct, 2) is None
    assert exact_fit(LAYER, 2) is None


def test_minus_zero_is_zero():
    layer = Layer(
        (torch.tensor([[0.0], [-0.0]]),), (None,), torch.ones(2, 1), None, torch.ones(2), nn.functional.relu
    )
    assert exact_fit(layer, 1).indices.tolist() == [0]
