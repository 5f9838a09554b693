"""Every public name exists, is documented and can be listed."""

import inspect
from typing import Any

import pytest

import jlab_compress
from jlab_compress.public import HOMES


@pytest.mark.parametrize("name", jlab_compress.__all__)
def test_public_name_resolves_and_is_documented(name):
    value: Any = getattr(jlab_compress, name)
    assert inspect.getdoc(value)
    assert name in dir(jlab_compress)


def test_names_and_homes_agree():
    assert sorted(jlab_compress.__all__) == sorted(HOMES)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'prune'"):
        jlab_compress.prune  # noqa: B018
