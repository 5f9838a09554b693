"""`jlab-compress ACTION`: what a shell can ask of this package, under names that stay."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jlab_compress.deployment.servers.clients import ServerError
from jlab_compress.deployment.servers.server import serve
from jlab_compress.deployment.servers.setup.install import set_up
from jlab_compress.deployment.servers.signing import sign, verify


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out one command line; a fault is one sentence and the exit status 1."""
    given = _parser().parse_args(arguments)
    try:
        match given.action:
            case "serve":
                _serve(given.repository, given.name, given.server)
            case "set-up":
                print(set_up(given.server))
            case "sign":
                print(sign(given.folder, given.key))
            case "verify":
                verify(given.folder, given.key)
                print(f"{given.folder} is what was signed")
    except (ImportError, OSError, ServerError, ValueError, subprocess.CalledProcessError) as fault:
        raise SystemExit(str(fault)) from fault


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("jlab-compress", description="Slim torch models, from a shell.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    serving = actions.add_parser(
        "serve",
        help="serve exported models on this machine",
        description="Serve a repository on this machine alone, until Enter is pressed.",
    )
    serving.add_argument("repository", type=Path, help="the folder that `export_repository` wrote into")
    serving.add_argument("--name", help="the one model to load (default: all of them)")
    serving.add_argument("--server", help="triton, mlserver or mlflow (default: what fits and is set up)")
    setting_up = actions.add_parser(
        "set-up",
        help="install a server to try exported models on",
        description="Install a server in an environment of its own, once, and print where it is.",
    )
    setting_up.add_argument(
        "server", nargs="?", choices=("triton", "mlserver"), help="default: what runs here"
    )
    for action, key, does in (
        ("sign", "the private key, a PEM file", "sign every file of a model's folder"),
        ("verify", "the public key, from a source that you trust", "hold a model's folder to its signature"),
    ):
        keyed = actions.add_parser(action, help=does, description=f"{does.capitalize()}.")
        keyed.add_argument("folder", type=Path, help="a model's folder, or a whole repository")
        keyed.add_argument("key", type=Path, help=key)
    return parser


def _serve(repository: Path, name: str | None, server: str | None) -> None:
    with serve(repository, name, server=server) as running:
        grpc = f", gRPC {running.grpc}" if running.grpc else ""
        print(f"{running.command.kind} is ready: HTTP {running.http}{grpc}", flush=True)
        sys.stdin.readline()
