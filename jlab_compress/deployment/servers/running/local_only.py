"""Refuse what a browser sends in the name of another site; read by the runtimes, which stand alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

LOCAL = ("127.0.0.1", "localhost", "::1")


class LocalOnly:
    """An ASGI application that answers 403 where Host or Origin is not this machine."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand a request on, or refuse it."""
        if all(is_local(name, value) for name, value in scope.get("headers", ())):
            await self.app(scope, receive, send)
            return
        words = b'{"error": "this server answers requests from this machine, to 127.0.0.1 or localhost"}'
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": words})


def is_local(name: bytes, value: bytes) -> bool:
    """Whether a header does not name another machine.

    Examples
    --------
    >>> is_local(b"host", b"localhost:8000"), is_local(b"origin", b"http://example.org")
    (True, False)
    """
    text = value.decode("latin-1")
    try:
        if name == b"host":
            return urlsplit(f"//{text}").hostname in LOCAL
        return name != b"origin" or urlsplit(text).hostname in LOCAL
    except ValueError:  # no address
        return False
