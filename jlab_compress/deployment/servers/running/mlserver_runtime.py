"""MLServer on a repository in Triton's tree, over the onnxruntime package.

Started by its path with the Python of MLServer's own environment; nothing in the package imports it. Every
``NAME/VERSION/model.onnx`` beside a ``NAME/config.pbtxt`` is served: as many of the newest versions, and the
types of inputs, as that file says. The folder is looked at again and again; no request loads or unloads a
model.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError, MLServerError, ModelNotFound
from mlserver.handlers import ModelRepositoryHandlers
from mlserver.repository import ModelRepository
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput

LocalOnly = runpy.run_path(str(Path(__file__).with_name("local_only.py")))["LocalOnly"]
LOOKS = 0.5  # seconds between two looks at the folder


class Tree(ModelRepository):  # type: ignore[misc]
    """The models of a folder in Triton's form."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    async def list(self) -> Sequence[ModelSettings]:
        """Return the settings of every version to load."""
        return [settings for name in self._names() for settings in self._versions(name)]

    async def find(self, name: str) -> Sequence[ModelSettings]:
        """Return the settings of one model's versions."""
        if name not in self._names():
            raise ModelNotFound(name)
        return self._versions(name)

    def held(self) -> Mapping[str, Sequence[str]]:
        """Return the versions to load, by name."""
        return {
            name: [settings.parameters.version for settings in self._versions(name)] for name in self._names()
        }

    def _names(self) -> Sequence[str]:
        return sorted(path.parent.name for path in self.root.glob("*/config.pbtxt"))

    def _versions(self, name: str) -> Sequence[ModelSettings]:
        files = [p for p in (self.root / name).glob("*/model.onnx") if p.parent.name.isdigit()]
        config = (self.root / name / "config.pbtxt").read_text(encoding="utf-8")
        kept = int(re.findall(r"num_versions: (\d+)", config)[0])
        newest = sorted(files, key=lambda path: int(path.parent.name))[-kept:]
        return [
            ModelSettings(
                name=name,
                implementation=OnnxModel,
                parameters=ModelParameters(uri=str(path), version=path.parent.name),
            )
            for path in newest
        ]


class OnnxModel(MLModel):  # type: ignore[misc]
    """One version of a model; a request that does not fit its inputs is answered with 400 and the reason."""

    def __init__(self, settings: ModelSettings) -> None:
        """Open the file, so that a version is known to the server only once it can answer."""
        super().__init__(settings)
        path = Path(settings.parameters.uri)
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:
            raise MLServerError(f"failed to load {self.name!r} version {self.version}: {error}") from error
        config = (path.parents[1] / "config.pbtxt").read_text(encoding="utf-8")
        self._single = set(re.findall(r'name: "([^"]+)"[^\n]*reshape', config))
        self._datatypes = dict(re.findall(r'input \[ \{ name: "([^"]+)" data_type: TYPE_(\w+)', config))
        self.ready = True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run one request in a thread of its own."""
        sent = {entry.name: entry for entry in payload.inputs}
        ports = self._session.get_inputs()
        for name in sent:
            if name not in {port.name for port in ports}:
                raise InferenceError(f"unexpected inference input {name!r} for model {self.name!r}")
        feeds = {port.name: self._array(port, sent.get(port.name)) for port in ports}
        try:
            arrays = await asyncio.to_thread(self._session.run, None, feeds)
        except Exception as error:
            raise InferenceError(f"model {self.name!r} cannot run these inputs: {error}") from error
        found = zip([port.name for port in self._session.get_outputs()], arrays, strict=True)
        outputs = [NumpyCodec.encode_output(name, np.asarray(array)) for name, array in found]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)

    def _array(self, port: Any, entry: RequestInput | None) -> Any:
        if entry is None:
            raise InferenceError(f"expected input {port.name!r} of model {self.name!r}, got none")
        sizes = [size if isinstance(size, int) else -1 for size in port.shape]
        wanted = [*sizes, 1] if port.name in self._single else sizes
        fits = len(entry.shape) == len(wanted) and all(
            w in (-1, s) for w, s in zip(wanted, entry.shape, strict=True)
        )
        if not fits:
            raise InferenceError(
                f"unexpected shape for input {port.name!r} of model {self.name!r}: "
                f"expected {wanted}, got {list(entry.shape)}"
            )
        datatype = self._datatypes[port.name]
        if entry.datatype != datatype:
            raise InferenceError(
                f"input {port.name!r} of model {self.name!r}: data-type is {entry.datatype!r}, "
                f"expected {datatype!r}"
            )
        try:
            return NumpyCodec.decode_input(entry).reshape(entry.shape[: len(sizes)])
        except Exception as error:
            raise InferenceError(f"input {port.name!r}: its data do not fill its shape: {error}") from error


class Closed(ModelRepositoryHandlers):  # type: ignore[misc]
    """What requests may do to the models: nothing."""

    async def load(self, name: str) -> bool:
        """Refuse to load a model."""
        raise MLServerError("models are not loaded or unloaded by requests", 403)

    unload = load


class Server(MLServer):  # type: ignore[misc]
    """MLServer for this machine alone, which loads what appears in its folder."""

    _model_repository_handlers: ModelRepositoryHandlers

    def _create_servers(self) -> None:
        self._own_handlers = self._model_repository_handlers
        self._model_repository_handlers = Closed(self._model_repository, self._model_registry)
        super()._create_servers()
        self._rest_server._app.add_middleware(LocalOnly)

    async def watch(self, tree: Tree) -> None:
        """Load new versions for ever; one that does not load is said in the log, and the old ones stay."""
        known = tree.held()
        while True:
            await asyncio.sleep(LOOKS)
            found = tree.held()
            for name in [name for name in found if found[name] != known.get(name)]:
                try:
                    await self._own_handlers.load(name)
                except Exception as error:
                    print(f"error: {error}", flush=True)
            known = found


async def run(root: str, host: str, http_port: int, grpc_port: int) -> None:
    """Serve until a signal comes."""
    settings = Settings(
        debug=False,
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_endpoint=None,
        parallel_workers=0,
        model_repository_root=root,
        model_repository_implementation=Tree,
    )
    tree = Tree(root)
    server = Server(settings)
    watching = asyncio.create_task(server.watch(tree))
    await server.start(await tree.list())
    watching.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve a repository with MLServer.")
    parser.add_argument("root")
    parser.add_argument("--host", required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(run(given.root, given.host, given.http_port, given.grpc_port))
