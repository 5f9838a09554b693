"""What a reader of a report must know, and that nothing is said where it is not so."""

import pytest
from torch import nn

from jlab_compress import prepare
from jlab_compress.compression.notes import notes_on
from jlab_compress.fitting.fit import Fit
from tests.models import mlp, rows, seeded
from tests.quick import X

PLAIN = mlp(6, 40, 30, 3)


def notes(model, calibration, *, said=None, names=("0",)):
    prepared = prepare(model, calibration)
    return notes_on(
        prepared, {name: Fit(None, None, "some", 0.1, notes=(said or {}).get(name, ())) for name in names}
    )


def convolutions():
    return seeded(nn.Sequential, nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)).double()


def dropping(rate=0.5):
    return nn.Sequential(PLAIN[0], PLAIN[1], nn.Dropout(rate), PLAIN[2], PLAIN[3], PLAIN[4])


def heads(rate):
    return seeded(nn.TransformerEncoderLayer, 12, 6, 16, rate, batch_first=True).double()


@pytest.mark.parametrize(
    ("model", "calibration", "names", "start"),
    [
        (PLAIN, [(X, X)], ("0",), "The calibration holds more values per batch than the model takes"),
        (PLAIN, X[:3], ("0",), "Too few calibration rows to hold some out"),
        (convolutions(), rows(10, 1, 7, 7), ("0",), "Errors of 0 are those of what channels add at single"),
        (dropping(), X, ("0",), "Dropout acts on hidden neurons of 0: "),
        (heads(0.1), rows(12, 4, 12), ("self_attn",), "Dropout acts on attention weights of self_attn: "),
    ],
)
def test_what_must_be_known_is_said_once(model, calibration, names, start):
    found = notes(model, calibration, names=names)
    assert len([note for note in found if note.startswith(start)]) == 1


@pytest.mark.parametrize(
    ("model", "calibration", "names"),
    [
        (PLAIN, X, ("0", "2")),
        (dropping(), X, ("3",)),
        (dropping(0.0), X, ("0",)),
        (heads(0.0), rows(12, 4, 12), ("self_attn", "linear1")),
    ],
)
def test_nothing_is_said_where_there_is_nothing_to_say(model, calibration, names):
    assert notes(model, calibration, names=names) == ()


def test_what_fits_say_is_said_once_for_all_blocks():
    said = {"0": ("both say so", "the first alone"), "2": ("both say so",)}
    found = notes(PLAIN, X, said=said, names=("0", "2"))
    assert found == ("blocks 0, 2: both say so", "block 0: the first alone")
