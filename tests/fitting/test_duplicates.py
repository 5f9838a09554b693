import torch

from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.layer import Layer


def random_layer(n, n_in=3, n_out=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    return Layer(
        (draw(n, n_in),), (draw(n),), draw(n, n_out), draw(n_out), torch.ones(n).double(), torch.tanh
    )


def test_repeated_neurons_collapse_to_exact_counts():
    distinct = random_layer(5)
    repeats = torch.tensor([1, 4, 2, 3, 7])
    rows = torch.arange(5).repeat_interleave(repeats)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))]
    merged, copies = merge_duplicates(distinct.select(rows))
    first = torch.tensor(list(dict.fromkeys(rows.tolist())))
    assert torch.equal(merged.incoming[0], distinct.incoming[0][first])
    assert torch.equal(merged.multiplicities, repeats[first].double())
    assert copies.tolist() == [rows.tolist().index(neuron) for neuron in first.tolist()]
    x = torch.randn(20, 3, dtype=torch.float64)
    assert torch.allclose(merged(x), distinct.select(rows)(x), rtol=1e-12, atol=1e-12)


def test_multiplicities_add_up():
    layer = random_layer(2).select(torch.tensor([0, 1, 0]), torch.tensor([0.5, 2.0, 3.0]).double())
    assert merge_duplicates(layer)[0].multiplicities.tolist() == [3.5, 2.0]


def test_a_neuron_that_differs_in_its_outgoing_row_only_stays():
    layer = random_layer(3)
    twin = layer.select(torch.tensor([0, 0, 1]))
    outgoing = twin.outgoing.clone()
    outgoing[1, 0] += 1e-9
    assert merge_duplicates(twin.with_outgoing(outgoing, None))[0].width == 3


def test_layers_without_bias_and_with_two_incoming_matrices():
    layer = random_layer(4)
    gated = Layer(
        (layer.incoming[0], layer.incoming[0].flip(0)), (None, layer.biases[0]), layer.outgoing, None,
        layer.multiplicities, lambda a, b: torch.sigmoid(a) * b,
    )  # fmt: skip
    assert merge_duplicates(gated.select(torch.tensor([3, 1, 3, 1, 1])))[0].multiplicities.tolist() == [
        2.0,
        3.0,
    ]
