"""The names of torch's calls: each set holds names that torch has, and means one thing."""

import torch
from torch.nn import functional as F

from jlab_compress.graph import op_names

KNOWN = {name: value for name, value in vars(op_names).items() if isinstance(value, set)}


def exists(name):
    homes = (torch, torch.Tensor, F, torch.nn.functional, torch._C._nn)
    return any(hasattr(home, name) for home in homes)


def test_every_name_is_one_of_torch():
    names = {name for found in KNOWN.values() for name in found}
    assert {name for name in names if not exists(name)} <= {"passed", "__get__", "_grouped_mm", "grouped_mm"}
    assert not exists("conv4d")


def test_layers_products_and_additions_are_apart():
    layers = op_names.AFFINE | op_names.FOREIGN
    for found in (op_names.PRODUCTS, op_names.ADDITIONS, op_names.PASSED, op_names.POOLS, op_names.CUTS):
        assert layers.isdisjoint(found)
        layers = layers | found


def test_what_attention_is_written_by_are_products():
    assert op_names.ATTENTION_PRODUCTS < op_names.PRODUCTS
    assert op_names.GROUPED_PRODUCTS.isdisjoint(op_names.ATTENTION_PRODUCTS)


def test_what_changes_shapes_keeps_the_numbers():
    assert op_names.SHAPES - {"view_as"} <= op_names.SAME_NUMBERS
    assert op_names.SPLITS <= op_names.SHAPES <= op_names.PASSED
    assert set(op_names.CONV_RANKS) < op_names.AFFINE
