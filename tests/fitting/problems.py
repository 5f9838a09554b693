"""Small layers and rows for the tests of fits."""

import torch

from jlab_compress.fitting.layer import Layer

EACH, UNIT_OUTPUTS = 3, 4


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense(n=40, n_in=5, n_out=3, *, seed=0, activation=torch.relu, dtype=torch.float64):
    """A layer whose neurons are drawn at random, at the scale of a trained network."""
    return Layer(
        (draw(n, n_in, seed=seed, dtype=dtype) / n_in**0.5,),
        (0.3 * draw(n, seed=seed + 1, dtype=dtype),),
        draw(n, n_out, seed=seed + 2, dtype=dtype) / n**0.5,
        draw(n_out, seed=seed + 3, dtype=dtype),
        torch.ones(n, dtype=dtype),
        activation,
    )


def gated(n=40, n_in=5, n_out=3, *, seed=0):
    """A gated layer without biases, silu(gate) * up."""
    return Layer(
        (draw(n, n_in, seed=seed), draw(n, n_in, seed=seed + 1)),
        (None, None),
        draw(n, n_out, seed=seed + 2) / n**0.5,
        None,
        torch.ones(n, dtype=torch.float64),
        lambda gate, up: torch.nn.functional.silu(gate) * up,
    )


def clustered(groups=6, copies=8, *, spread=0.0, seed=0, activation=torch.relu):
    """A layer of `groups` distinct neurons, each `copies` times, moved apart by `spread`."""
    layer = dense(groups, seed=seed, activation=activation)
    layer = layer.select(torch.arange(groups).repeat_interleave(copies))
    n = layer.width
    return Layer(
        (layer.incoming[0] + spread * draw(n, 5, seed=seed + 7),),
        (layer.biases[0] + spread * draw(n, seed=seed + 8),),
        layer.outgoing + spread * draw(n, 3, seed=seed + 9),
        layer.outgoing_bias,
        layer.multiplicities,
        layer.activation,
    )


def tensors(layer):
    """Every tensor of a layer, for comparing bits."""
    parts = [
        *layer.incoming,
        *(b for b in layer.biases if b is not None),
        layer.outgoing,
        layer.multiplicities,
    ]
    return parts if layer.outgoing_bias is None else [*parts, layer.outgoing_bias]


def same_bits(one, other):
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def units(n, *, bias=True, size=7, seed=0):
    """A layer of n units with three values each, which no function of its rows computes."""

    def never(*_):
        raise AssertionError("units are known by their values")

    outgoing, made = draw(n, UNIT_OUTPUTS * EACH, seed=seed), draw(n, size, seed=seed + 1)
    offset = draw(UNIT_OUTPUTS, seed=seed + 2) if bias else None
    return Layer((made,), (None,), outgoing, offset, torch.ones(n).double(), never, biased=bias)


def unit_kernels(n, rank, probes=20, seed=5):
    """Symmetric, positive kernels of n units that live in `rank` directions."""
    factors = draw(rank, probes, 4, seed=seed)
    basis = factors @ factors.transpose(1, 2)
    shares = draw(n, rank, seed=seed + 1).abs()
    return ((shares @ basis.flatten(1)).reshape(n, probes, probes),)
