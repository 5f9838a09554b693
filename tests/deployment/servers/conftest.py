"""Servers that are set up once, and models that are exported once."""

import pytest

from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.deployment.servers.setup.mlserver_setup import set_up_mlserver
from jlab_compress.deployment.servers.setup.triton_setup import set_up_triton
from tests.deployment.networks import MODELS, Encoder, Score, mlp
from tests.deployment.servers.asking import X

# Tests that share a running server stay in one process of pytest-xdist.
KINDS = [pytest.param(kind, marks=pytest.mark.xdist_group(kind)) for kind in ("triton", "mlserver")]


@pytest.fixture(scope="session")
def set_up():
    """Both servers, set up if they are not there yet."""
    return set_up_triton(), set_up_mlserver()


@pytest.fixture(scope="module", params=KINDS)
def kind(request, set_up):
    return request.param


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A repository with three models; a test that changes one works on a copy."""
    folder = tmp_path_factory.mktemp("exported")
    export_repository(mlp(), folder, "net", X)
    export_repository(Encoder(), folder, "encoder", MODELS["encoder"][1])
    export_repository(Score(), folder, "score", X)
    return folder
