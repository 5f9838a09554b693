"""`jlab-compress serve`: a stable door that exported model cards name."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from jlab_compress.deployment.servers.command_line import main
from jlab_compress.deployment.servers.layouts import LAYOUTS
from jlab_compress.deployment.servers.modelcard import model_card
from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.deployment.servers.setup.mlserver_setup import set_up_mlserver
from tests.deployment.networks import mlp, normal

SCRIPTS = tomllib.loads(Path(__file__).parents[3].joinpath("pyproject.toml").read_text("utf-8"))["project"]


def test_the_installed_command_is_this_one():
    module, _, name = SCRIPTS["scripts"]["jlab-compress"].partition(":")
    assert getattr(import_module(module), name) is main


def test_a_model_card_names_the_command_and_no_module(tmp_path):
    made = export_repository(mlp(), tmp_path, "net", normal(5, 8))
    card = model_card("net", made.export, LAYOUTS["triton"])
    assert "    jlab-compress serve FOLDER\n" in card
    assert "python -m jlab_compress" not in card


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(SystemExit, match="holds no model; write one with export_repository"):
        main(["serve", str(tmp_path)])


def test_a_server_that_is_not_known_is_one_sentence(tmp_path):
    export_repository(mlp(), tmp_path, "net", normal(5, 8))
    with pytest.raises(SystemExit, match="server: expected one of triton"):
        main(["serve", str(tmp_path), "--server", "torchserve"])


def test_serving_needs_no_onnx_here(tmp_path):
    script = (
        "import sys; sys.modules['onnx'] = sys.modules['onnxruntime'] = None\n"
        "from jlab_compress.deployment.servers.command_line import main\n"
        f"main(['serve', {str(tmp_path)!r}])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 1
    assert "holds no model" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.serve
def test_a_folder_is_served_from_a_shell_until_enter(tmp_path):
    set_up_mlserver()
    made = export_repository(mlp(), tmp_path, "net", normal(5, 8))
    code = "from jlab_compress.deployment.servers.command_line import main; main()"
    shell = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(tmp_path), "--server", "mlserver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    address = shell.stdout.readline().split("HTTP ")[1].split(",")[0]
    client = [sys.executable, made.path / "client.py", address]
    assert "output" in subprocess.run(client, capture_output=True, text=True, check=True).stdout
    shell.communicate("\n")
    assert shell.returncode == 0


def test_a_server_is_set_up_once_and_its_place_printed(capsys):
    main(["set-up", "mlserver"])
    assert capsys.readouterr().out.strip() == str(set_up_mlserver())


def test_a_machine_on_which_a_server_does_not_run_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("JLAB_COMPRESS_TRITON", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    with pytest.raises(SystemExit, match="Triton: NVIDIA publishes it for Linux on x86-64"):
        main(["set-up", "triton"])
