"""Set up a server to try models on: NVIDIA Triton where its wheel runs, MLServer elsewhere."""

from __future__ import annotations

from pathlib import Path

from jlab_compress.deployment.servers.setup.mlserver_setup import set_up_mlserver
from jlab_compress.deployment.servers.setup.triton_setup import set_up_triton, triton_objection


def set_up(server: str | None = None) -> Path:
    """Set up a server and return its executable.

    Parameters
    ----------
    server : {"triton", "mlserver"}, optional
        By default Triton on Linux on x86-64, else MLServer.

    Raises
    ------
    OSError
        If the server does not run here, with the reason.
    subprocess.CalledProcessError
        If an installation fails.
    """
    if server is None:
        server = "mlserver" if triton_objection() else "triton"
    return set_up_triton().server if server == "triton" else set_up_mlserver()
