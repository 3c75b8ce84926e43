"""What keeps other sites out: they reach this server through the visitor's own browser.

A name that was pointed at this machine (DNS rebinding) shows in the Host header, a forged form in
Sec-Fetch-Site and in the missing token. Texts that hold HTML are escaped by the templates; the
content security policy is what holds if one is not.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses requests that were not made for this server by one of its own pages.

    Args:
        app: what is guarded.
        port: of the server.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        """Know under which names the server is reached."""
        self._app = app
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await (self._refusal(scope) or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if headers.get("host") not in self._hosts:
            return PlainTextResponse("This server has another name.\n", 400)
        reads = scope["method"] in ("GET", "HEAD")
        if not reads and headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("Another site may not change anything here.\n", 403)
        return None
