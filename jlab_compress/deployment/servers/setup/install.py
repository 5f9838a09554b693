"""Set up a server to try models on: NVIDIA Triton where its wheel runs, MLServer elsewhere.

``python -m jlab_compress.deployment.servers.setup.install [triton|mlserver]`` does it once.
"""

from __future__ import annotations

import argparse
import subprocess
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
    """
    if server is None:
        server = "mlserver" if triton_objection() else "triton"
    return set_up_triton().server if server == "triton" else set_up_mlserver()


def main() -> None:
    """Set a server up and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", nargs="?", choices=("triton", "mlserver"), help="by default what runs here")
    try:
        print(set_up(parser.parse_args().server))
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
