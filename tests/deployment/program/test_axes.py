"""The usual names of axes, the likeliest first."""

import pytest
import torch

from jlab_compress.deployment.program.axes import usual_axes

IDS, FEATURES, IMAGE = torch.ones(2, 5).long(), torch.ones(2, 5, 8), torch.ones(2, 3, 8, 8)


def along(tensors, given=()):
    """The names of what has a sequence, for each choice."""
    choices = list(usual_axes(tensors, given))
    assert all(set(choice) == set(tensors) - set(given) for choice in choices)
    return [
        "".join(sorted(n for n, axes in choice.items() if axes.get(1) == "sequence")) for choice in choices
    ]


@pytest.mark.parametrize(
    ("tensors", "given", "choices"),
    [
        ({"i": IDS}, (), ["i", ""]),
        ({"f": FEATURES, "p": IMAGE}, (), [""]),
        ({"f": FEATURES, "m": IDS.bool()}, (), ["fm", "m", ""]),
        ({"p": IMAGE, "i": IDS}, (), ["i", ""]),
        ({"i": IDS, "k": torch.ones(2, 7).int()}, (), ["ik"]),  # two lengths: the caller must say
        ({"i": torch.ones(2, 1).int()}, (), ["i"]),
        ({"i": IDS, "f": FEATURES}, ("i",), [""]),
        ({"s": torch.tensor(2.0)}, (), [""]),
    ],
)
def test_choices_of_what_is_a_sequence(tensors, given, choices):
    assert along(tensors, given) == choices


def test_a_matrix_that_is_called_a_mask_is_one_of_any_type():
    assert along({"attention_mask": torch.ones(2, 5)}) == ["attention_mask", ""]
    assert along({"features": torch.ones(2, 5)}) == [""]
