"""Others who mean harm: each attack yields what got through at each try, "" if nothing did."""

import json
import random
from pathlib import Path
from unittest import mock

import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn
from tritonclient.utils import InferenceServerException

from jlab_compress.deployment.servers.clients import open_grpc
from jlab_compress.notebook.kernel.channel import register, unregister
from jlab_compress.notebook.kernel.messages import Digest
from jlab_compress.notebook.kernel.namespace import survey
from jlab_compress.notebook.widget import operations, panel
from jlab_compress.report import Report, Reported
from tests.deployment.servers.asking import posted

FIXTURES = Path(__file__).parents[1] / "labextension" / "fixtures"
READ = {name: json.loads((FIXTURES / f"{name}.json").read_text("utf-8")) for name in ("messages", "commands")}
REQUESTS = [*READ["messages"]["requests"]["accepted"], *READ["messages"]["requests"]["refused"]]
COMMANDS = [one["command"] for one in READ["commands"]["accepted"]] + READ["commands"]["refused"]


class Victim:
    """A namespace with a hidden function, and a file that only foreign code would write."""

    def __init__(self, folder):
        self.mark = Path(folder, "mark")
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
        self.names = {
            "net": net,
            "net_slim": net,
            "x": torch.ones(9, 6),
            "y": torch.ones(9),
            "_hidden": self.harm,
        }
        self.words = [
            f"__import__('pathlib').Path({str(self.mark)!r}).touch()",
            f"net; open({str(self.mark)!r}, 'w')",
            "_hidden", "_hidden, _hidden", "__builtins__", "net.forward", "../out", "/tmp/out", ".hidden",
            "a\0b", "a\nb", "\ud800", "", "x" * 30_000, 0, -1, 10**400, True, None, 1.5, float("nan"),
            [], {}, [[]], nested(500),
        ]  # fmt: skip

    def harm(self, *_):
        self.mark.touch()

    def harmed(self):
        found = self.mark.exists()
        self.mark.unlink(missing_ok=True)
        return "foreign code ran" if found else ""


def nested(depth):
    made = []
    for _ in range(depth):
        made = [made]
    return made


def spoilt(value, words, chance):
    """Return a JSON value with one part of it replaced, dropped or added."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        value = dict(value)
        key = chance.choice(list(value))
        match chance.randrange(4):
            case 0:
                del value[key]
            case 1:
                value[str(chance.choice(words))[:50]] = chance.choice(words)
            case _:
                value[key] = spoilt(value[key], words, chance)
        return value
    if isinstance(value, list) and value and chance.random() < 0.5:
        value = list(value)
        place = chance.randrange(len(value))
        value[place] = spoilt(value[place], words, chance)
        return value
    return chance.choice(words)


class Comm:
    """A page's end of a channel."""

    comm_id = "attacker"

    def __init__(self):
        self.sent = []

    def send(self, message):
        json.dumps(message, ensure_ascii=False).encode()
        self.sent.append(message)

    def on_msg(self, callback):
        self.ask = callback

    def on_close(self, callback):
        pass


def comm_messages(folder, count, seed=0):
    """Send spoilt requests and envelopes to the channel of the side panel."""
    victim, chance, shell = Victim(folder), random.Random(seed), InteractiveShell()
    shell.user_ns.update(victim.names)
    known = dict(shell.user_ns)
    comm = Comm()
    register(shell).opened(comm, {})
    for _ in range(count):
        envelope = {"content": {"data": spoilt(chance.choice(REQUESTS), victim.words, chance)}}
        if chance.random() < 0.2:
            envelope = spoilt(envelope, victim.words, chance)
        before = len(comm.sent)
        try:
            comm.ask(envelope)
        except Exception as fault:
            yield f"raw {type(fault).__name__} at {str(envelope)[:100]}"
            continue
        yield (
            victim.harmed()
            or ("" if len(comm.sent) == before + 1 else "no answer")
            or ("" if shell.user_ns == known else "names changed")
        )
    unregister(shell)
    shell.history_manager.end_session()


class Made(Reported):
    """What stands for the result of an action that was let through."""

    kind = "blocks"
    report = Report("Made")
    model = None

    def __iter__(self):
        return iter(())


def widget_messages(folder, count, seed=0):
    """Send spoilt commands and envelopes to the panel in a cell; actions are looked at, not carried out."""
    victim, chance, faults = Victim(folder), random.Random(seed), []
    made = panel.Panel(None, victim.names)
    made.send = lambda content, buffers=None: json.dumps(content, ensure_ascii=False).encode()

    def looked_at(action, given):
        for name, value in given.items():
            if value is victim.names["_hidden"]:
                faults.append(f"{action.name}: {name} is a hidden function")
            if name in ("path", "directory") and (Path(value).name != value or value.startswith(".")):
                faults.append(f"{action.name}: writes to {value!r}")
        return Made()

    with mock.patch.object(operations, "carry_out", looked_at):
        for _ in range(count):
            content = chance.choice(COMMANDS)
            if (
                isinstance(content, dict)
                and isinstance(content.get("fields"), dict)
                and chance.random() < 0.7
            ):
                field = chance.choice(list(content["fields"]) or ["model"])
                word = chance.choice(["_hidden", ".hidden", *victim.words])
                content = {**content, "fields": {**content["fields"], field: word}}
            else:
                content = spoilt(content, victim.words, chance)
            envelope = {"content": {"data": {"method": "custom", "content": content}}, "buffers": []}
            if chance.random() < 0.2:
                envelope = spoilt(envelope, victim.words, chance)
            try:
                made._handle_msg(envelope)
            except Exception as fault:
                faults.append(f"raw {type(fault).__name__} at {str(envelope)[:100]}")
            yield victim.harmed() or (faults.pop() if faults else "")
            faults.clear()
            made.results.clear()


def odd_objects(folder, count, seed=0):
    """Name objects whose classes lie, refuse or run code; the models beside them must still be told."""
    victim, chance = Victim(folder), random.Random(seed)
    special = [
        "__eq__",
        "__hash__",
        "__len__",
        "__bool__",
        "__iter__",
        "__getattribute__",
        "__getattr__",
        "__repr__",
    ]
    special += [
        "modules",
        "named_modules",
        "parameters",
        "buffers",
        "children",
        "state_dict",
        "forward",
        "training",
    ]

    def refuse(*_, **__):
        victim.harm()
        raise ZeroDivisionError

    for _ in range(count):
        metaclass = type("Meta", (type,), {"__eq__": refuse, "__hash__": refuse})
        base = chance.choice([nn.Linear, object, nn.Module])
        maker = metaclass if chance.random() < 0.3 else type
        odd = maker("Odd", (base,), {})(3, 2) if base is nn.Linear else maker("Odd", (base,), {})()
        for name in chance.sample(special, 3):
            type.__setattr__(type(odd), name, chance.choice([refuse, property(refuse)]))
        try:
            state = Digest("1").state(survey({"odd": odd, "net": victim.names["net"]}, seconds=10))
        except Exception as fault:
            yield f"no state: {type(fault).__name__}"
            continue
        told = [row["name"] for row in state["models"]]
        yield victim.harmed() or ("" if "net" in told else "another model is not told")


def requests_to(server, folder, count, seed=0):
    """Ask a running server over HTTP and gRPC for what it must not do."""
    victim, chance = Victim(folder), random.Random(seed)
    code = f"open({str(victim.mark)!r}, 'w')\n"
    config = json.dumps({"name": "net", "backend": "python", "max_batch_size": 0})
    loads = ("repository/models/{}/load", "repository/models/{}/unload")
    others = (
        "systemsharedmemory/region/a/register",
        "cudasharedmemory/region/a/register",
        "trace/setting",
        "logging",
    )
    bodies = (
        {},
        {"parameters": {"config": config, "file:1/model.py": code}},
        {"parameters": {"unload_dependents": True}},
        {"key": f"/{server.command.place.name}", "offset": 0, "byte_size": 8},
        {"log_file": str(victim.mark), "trace_file": str(victim.mark), "log_info": True},
    )
    headers = ({}, {"Origin": "http://example.org"}, {"Content-Type": "text/plain"}, {"no": "allowed"})
    for _ in range(count):
        place = chance.choice([*loads, *others]).format(chance.choice(["net", "new", "../net", "%2e%2e"]))
        status = posted(
            server.http, f"/v2/{place}", json.dumps(chance.choice(bodies)), chance.choice(headers)
        )
        yield victim.harmed() or (f"{status} at {place}" if status < 400 else "")
    client = open_grpc(server.grpc)
    calls = (
        lambda: client.load_model("net", config=config, files={"file:1/model.py": code.encode()}),
        lambda: client.unload_model("net"),
        lambda: client.register_system_shared_memory("a", "/a", 8),
        lambda: client.update_trace_settings(settings={"trace_file": [str(victim.mark)]}),
        lambda: client.update_log_settings({"log_file": str(victim.mark)}),
    )
    for call in calls:
        try:
            call()
            yield "gRPC carried out a request"
        except InferenceServerException:
            yield victim.harmed()
