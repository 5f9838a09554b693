"""Values of a request: names are looked up, plain values have their type, nothing is evaluated."""

import pytest
import torch
from torch import nn

from jlab_compress.notebook.actions import ACTIONS
from jlab_compress.notebook.kernel.block_cache import known_blocks
from jlab_compress.notebook.widget.operations import (
    check_fields,
    data_of,
    loss_of,
    model_of,
    path_of,
    read_value,
    results_of,
)


def test_a_request_has_the_fields_of_its_action():
    check_fields(ACTIONS["run"], {"model": "net", "calibration": "x", "seed": 1})
    for fields in ({"model": "net"}, {"model": "net", "calibration": "x", "progress": True}):
        with pytest.raises(ValueError, match="'run' takes calibration, model and may take effort"):
            check_fields(ACTIONS["run"], fields)


def test_a_path_is_a_name_beside_the_notebook():
    assert path_of("slim.onnx") == "slim.onnx"
    assert path_of("größe 2.onnx") == "größe 2.onnx"
    hidden = (".hidden", ".", "..", "a\0b", "a\nb", "a\x1b[2J", "\u202eonnx.", "\ud800")
    for path in ("../x", "/x", "a/b", "a\\b", "", 5, None, *hidden):
        with pytest.raises(ValueError, match="path: expected a name without folders that is not hidden, got"):
            path_of(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("widths", 8),
        ("preserve", ["dynamics"]),
        ("plain", 1),
        ("seed", True),
        ("seed", 1.5),
        ("tolerance", "0.1"),
    ],
)
def test_a_plain_value_of_another_type_is_refused(field, value):
    with pytest.raises(ValueError, match=f"^{field}: expected "):
        read_value(ACTIONS["run"].fields[field], value, {})


def test_an_optimizer_is_one_of_three():
    field = ACTIONS["validate"].fields["optimizer"]
    assert read_value(field, "AdamW", {}) is torch.optim.AdamW
    for value in ("Optimizer", "torch.optim.SGD", None, ["SGD"]):
        with pytest.raises(ValueError, match="optimizer: expected one of SGD, Adam, AdamW"):
            read_value(field, value, {"torch": torch})


def test_a_search_by_button_is_known_to_the_side_panel():
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    found = results_of(ACTIONS["inspect"], "net", {"model": "net"}, {"net": model}, lambda *_: None)
    assert known_blocks(model) is found["net_blocks"]


def test_a_loss_is_a_stock_one_or_one_of_the_notebook():
    def own(outputs, targets):
        return 0

    values = {"own": own, "criterion": nn.MSELoss(), "exit": exit, "shell": print, "x": torch.ones(1)}
    assert loss_of("mse_loss", values) is nn.functional.mse_loss
    assert loss_of("own", values) is own
    assert loss_of("criterion", values) is values["criterion"]
    for name in ("exit", "shell", "x", "softmax", "__builtins__", "own()", None, ["own"]):
        with pytest.raises(ValueError, match="knows no loss named"):
            loss_of(name, values)


def test_data_by_one_name_or_by_two():
    x, y = torch.arange(5), torch.arange(5, 10)
    values = {"x": x, "y": y}
    assert data_of("x", values) is x
    assert data_of("x, y", values) == (x, y)
    cut = data_of("x, y", values, batch=2)
    assert [pair[1].tolist() for pair in cut] == [[5, 6], [7, 8], [9]]
    with pytest.raises(ValueError, match="knows no data"):
        data_of("x, y, x", values)


def test_a_class_that_claims_to_be_another_is_not_asked():
    class Claiming:
        @property
        def __class__(self):
            raise AssertionError("code of the user ran")

    values = {"net": Claiming()}
    with pytest.raises(ValueError, match="knows no model named 'net'"):
        model_of("model", "net", values)
    with pytest.raises(ValueError, match="knows no loss named 'net'"):
        loss_of("net", values)
