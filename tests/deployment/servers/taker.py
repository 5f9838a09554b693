"""Another program on a port: it answers everything as a server would, and keeps what it was sent."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = {
    "ready": True,
    "outputs": [{"name": "output", "datatype": "FP32", "shape": [1], "data": [666.0]}],
    "predictions": {"output": [666.0]},
}


@contextlib.contextmanager
def taker(port=0):
    """Listen on a port of 127.0.0.1; yields the port and the list of what came."""
    came = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            came.append((self.command, self.path, self.rfile.read(int(self.headers["Content-Length"] or 0))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(ANSWER).encode())

        do_GET = do_POST = do_CONNECT = answer  # noqa: N815

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port, came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
