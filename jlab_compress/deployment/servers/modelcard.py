"""What lies beside a served model: a card to read, an example and a client to send it with, check sums."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jlab_compress.deployment.onnx.export_report import ExportReport
from jlab_compress.deployment.onnx.files import sha256_of
from jlab_compress.deployment.onnx.parity import Arrays, Feeds
from jlab_compress.deployment.servers.configs import DATATYPES, as_served

SUMS = "SHA256SUMS"
UNITS = {"attention": "heads", "conv": "channels"}
START = {
    "triton": "tritonserver --model-repository=FOLDER",
    "kserve": "kubectl apply -f {name}/inferenceservice.yaml",
    "openvino": "docker run -p 8000:8000 -p 8001:8001 -v FOLDER:/models openvino/model_server "
    "--config_path /models/{name}/config.json --rest_port 8000 --port 8001",
    "mlflow": "mlflow models serve -m FOLDER/{name}/{version} -p 8000 --env-manager local",
}
CLIENT = '''"""Send input_example.json to a server and print the answer; --grpc needs tritonclient."""

import argparse
import json
import pathlib
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("address", nargs="?", default="127.0.0.1:8000", help="host:port")
parser.add_argument("--grpc", action="store_true", help="the address speaks gRPC (usually port 8001)")
options = parser.parse_args()
request = json.loads(pathlib.Path(__file__).with_name("input_example.json").read_text())

if options.grpc:
    import numpy
    import tritonclient.grpc
    import tritonclient.utils

    inputs = []
    for entry in request["inputs"]:
        dtype = tritonclient.utils.triton_to_np_dtype(entry["datatype"])
        array = numpy.array(entry["data"], dtype).reshape(entry["shape"])
        inputs.append(tritonclient.grpc.InferInput(entry["name"], entry["shape"], entry["datatype"]))
        inputs[-1].set_data_from_numpy(array)
    answer = tritonclient.grpc.InferenceServerClient(options.address).infer({name!r}, inputs)
    for output in answer.get_response().outputs:
        print(output.name, answer.as_numpy(output.name))
else:
    body = json.dumps(request).encode()
    url = "http://" + options.address + "/v2/models/" + {name!r} + "/infer"
    headers = {{"Content-Type": "application/json"}}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
        for output in json.load(response)["outputs"]:
            print(output["name"], output["shape"], output["data"])
'''
MLFLOW_CLIENT = '''"""Send input_example.json to a running `mlflow models serve` and print the answer."""

import json
import pathlib
import sys
import urllib.request

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000"
request = json.loads(pathlib.Path(__file__).with_name("input_example.json").read_text())
url, headers = "http://" + address + "/invocations", {"Content-Type": "application/json"}
with urllib.request.urlopen(urllib.request.Request(url, json.dumps(request).encode(), headers)) as response:
    print(json.load(response)["predictions"])
'''


def open_inference_request(feeds: Feeds) -> dict[str, Any]:
    """Return arrays as the JSON body of the Open Inference Protocol, version 2."""
    return {
        "inputs": [
            {
                "name": name,
                "datatype": DATATYPES[array.dtype.name],
                "shape": list(array.shape),
                "data": array.ravel().tolist(),
            }
            for name, array in feeds.items()
        ]
    }


def write_companions(folder: Path, name: str, export: ExportReport, feeds: Arrays, layout: str) -> None:
    """Write model card, report.json, input example, client and check sums into a version's folder."""
    mlflow = layout == "mlflow"
    sent = feeds if layout == "openvino" else as_served(feeds, export.form)
    request = (
        {"inputs": {k: v.tolist() for k, v in feeds.items()}} if mlflow else open_inference_request(sent)
    )
    texts = {
        "README.md": model_card(name, export, layout),
        "report.json": export.report.to_json() + "\n",
        "input_example.json": json.dumps(request, indent=2) + "\n",
        "client.py": MLFLOW_CLIENT if mlflow else CLIENT.format(name=name),
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def model_card(name: str, export: ExportReport, layout: str) -> str:
    """Return the text that tells a stranger what the model is, how it was checked and how to start it."""
    start = START[layout].format(name=name, version=export.path.parent.name)
    address = "HOST:PORT  # as the cluster gives it" if layout == "kserve" else "127.0.0.1:8000"
    blocks = export.plan.blocks if export.plan else ()
    made = [
        f"- `{b.name}`: {b.width_before} {UNITS.get(b.kind, 'neurons')} became {b.width_after} ({b.method})."
        for b in blocks
    ]
    return "\n".join(
        [
            f"# {name}",
            "",
            "A model in ONNX form, checked against the torch module that it was made from.",
            "",
            "## How it was made",
            "",
            *(made or ["- The layers have the widths of the torch module."]),
            f"- Precision {export.precision}, opset {export.form.opset}, {export.n_parameters:,} parameters.",
            "",
            "## How far it is from the torch module",
            "",
            f"The largest error over {len(export.parity)} sets of input sizes is "
            f"{export.max_gap:.1e} of the outputs' norm; `report.json` lists them.",
            "",
            "## Start it",
            "",
            f"`FOLDER` is the folder that holds `{name}`.",
            "",
            f"    {start}",
            f"    python client.py {address}",
            "",
            "To try it on this machine alone, with jlab-compress; it says at which address:",
            "",
            "    jlab-compress serve FOLDER",
            "",
            f"Check the files with `sha256sum -c {SUMS}`.",
            "",
            "```",
            str(export.report),
            "```",
            "",
        ]
    )
