"""A guest in Python: its runtime imports sockets and a file system, which every host refuses."""

import json
import os
import socket
import sys
import time

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import jobs, log, records


def describe_self():
    kinds = ["snake.try"]
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return {
        "name": "snake",
        "version": "0.1.0",
        "title": "Snake",
        "collections": [{"name": "skins", "schema": schema}],
        "subscriptions": [{"pattern": "snake.skins.created"}],
        "jobs": [{"kind": kind, "attempts": 1} for kind in kinds],
    }


def attempts():
    """What the runtime offers a program, and no guest gets."""
    return {
        "read": lambda: open("/etc/passwd").read(),
        "write": lambda: open("/tmp/x", "w").write("x"),
        "list": lambda: os.listdir("/"),
        "stat": lambda: os.stat("/etc").st_mode,
        "make": lambda: os.mkdir("/tmp/y"),
        "remove": lambda: os.remove("/etc/passwd"),
        "connect": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", 80)),
        # As bytes, which need no codec that the component does not bring.
        "resolve": lambda: socket.getaddrinfo(b"example.com", 80),
        "listen": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(("127.0.0.1", 0)),
        "datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53)),
    }


def refused(attempt):
    try:
        return {"allowed": repr(attempt())}
    except Exception as error:  # what it is called is what is asked
        return {"refused": type(error).__name__, "errno": getattr(error, "errno", None)}


class Guest(exports.Guest):
    def describe(self):
        return json.dumps(describe_self())

    def on_event(self, event):
        log.write(log.Level.INFO, "handled " + event.type, None)

    def run_job(self, job):
        row = records.create("skins", json.dumps({"text": "from Python"}))
        print("a line on standard output")
        time.sleep(0.01)
        tried = {name: refused(attempt) for name, attempt in attempts().items()}
        return json.dumps(
            {
                "id": row.id,
                "tried": tried,
                "environment": dict(os.environ),
                "arguments": sys.argv,
                "random": len(os.urandom(8)),
                "is_past": time.time() > 1_700_000_000,
            }
        )

    def handle_request(self, request):
        raise Err(exports.guest.Error_NotFound())

    def before_write(self, write):
        pass

    def on_lifecycle(self, step):
        return exports.guest.Outcome.DONE
