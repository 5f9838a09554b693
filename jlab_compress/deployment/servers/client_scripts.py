"""The scripts that lie beside a model and send its example to a server; they need no jlab-compress."""

from __future__ import annotations

_LOCAL = '''

def is_local(address):
    """Whether it is this machine, which is asked without a proxy."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"

'''
OPEN_INFERENCE = (
    '''"""Send input_example.json to a server and print the answer; --grpc needs tritonclient."""

import argparse
import ipaddress
import json
import pathlib
import urllib.request
'''
    + _LOCAL
    + """
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
    channel = [("grpc.enable_http_proxy", int(not is_local(options.address)))]
    channel += [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    client = tritonclient.grpc.InferenceServerClient(options.address, channel_args=channel)
    answer = client.infer({name!r}, inputs)
    for output in answer.get_response().outputs:
        print(output.name, answer.as_numpy(output.name))
else:
    body = json.dumps(request).encode()
    url = "http://" + options.address + "/v2/models/" + {name!r} + "/infer"
    headers = {{"Content-Type": "application/json"}}
    proxies = urllib.request.ProxyHandler({{}} if is_local(options.address) else None)
    request = urllib.request.Request(url, body, headers)
    with urllib.request.build_opener(proxies).open(request) as response:
        for output in json.load(response)["outputs"]:
            print(output["name"], output["shape"], output["data"])
"""
)

MLFLOW = (
    '''"""Send input_example.json to a running `mlflow models serve` and print the answer."""

import ipaddress
import json
import pathlib
import sys
import urllib.request
'''
    + _LOCAL
    + """
address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000"
request = json.loads(pathlib.Path(__file__).with_name("input_example.json").read_text())
url, headers = "http://" + address + "/invocations", {{"Content-Type": "application/json"}}
proxies = urllib.request.ProxyHandler({{}} if is_local(address) else None)
request = urllib.request.Request(url, json.dumps(request).encode(), headers)
with urllib.request.build_opener(proxies).open(request) as response:
    print(json.load(response)["predictions"])
"""
)
