"""Servers that are set up once, and models that are exported once."""

import os
import sys

import pytest

from jlab_compress.deployment.servers import commands, server
from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.deployment.servers.setup.mlserver_setup import set_up_mlserver
from jlab_compress.deployment.servers.setup.triton_setup import set_up_triton
from tests.deployment.networks import MODELS, Encoder, Score, mlp
from tests.deployment.outside import Outside
from tests.deployment.servers.asking import X

PROGRAMS = {
    "triton": {"tritonserver", "triton_python_backend_stub"},
    "mlserver": {os.path.basename(os.path.realpath(sys.executable))},
}
# Tests that share a running server stay in one process of pytest-xdist.
KINDS = [pytest.param(kind, marks=pytest.mark.xdist_group(kind)) for kind in ("triton", "mlserver")]


@pytest.fixture(scope="session")
def set_up():
    """Both servers, set up if they are not there yet."""
    return set_up_triton(), set_up_mlserver()


@pytest.fixture(scope="session", params=KINDS)
def kind(request, set_up):
    return request.param


@pytest.fixture(scope="session")
def outside(tmp_path_factory):
    """Notes of what servers send to other machines."""
    return Outside(tmp_path_factory.mktemp("outside"))


@pytest.fixture(scope="session")
def start(outside):
    """`serve`, with the notes taken in every process that it starts."""

    def watched(*arguments, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commands, "HANDED_ON", (*commands.HANDED_ON, *outside.environment))
            for name, value in outside.environment.items():
                patch.setenv(name, value)
            return server.serve(*arguments, **options)

    return watched


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A repository with three models; a test that changes one works on a copy."""
    folder = tmp_path_factory.mktemp("exported")
    export_repository(mlp(), folder, "net", X)
    export_repository(Encoder(), folder, "encoder", MODELS["encoder"][1])
    export_repository(Score(), folder, "score", X)
    return folder


@pytest.fixture(scope="session")
def running(kind, exported, start, outside):
    """One server for all tests that only ask; it sends nothing to other machines."""
    with start(exported, server=kind) as made:
        yield made
    assert outside.watched >= PROGRAMS[kind]
    assert outside.sent == []
