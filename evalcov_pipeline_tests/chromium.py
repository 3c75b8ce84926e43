"""A headless Chromium, driven by its DevTools protocol, for what only a browser can show."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

FOUND = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
"""The installed browser, or None."""
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
)  # fmt: skip
_TEXTS = {"Enter": "\r", "Escape": ""}


@contextmanager
def page(profile: Path) -> Iterator[Page]:
    """An empty page of a browser of its own.

    Args:
        profile: a folder that is not there yet.
    """
    assert FOUND is not None
    with subprocess.Popen(
        [FOUND, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            with connect(_address(profile / "DevToolsActivePort"), proxy=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()


def _address(port_file: Path) -> str:
    """Where a browser that just started listens."""
    deadline = time.monotonic() + 60
    while not (port_file.exists() and port_file.read_text().count("\n")):
        assert time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.05)
    port, path = port_file.read_text().splitlines()
    return f"ws://127.0.0.1:{port}{path}"


class Page:
    """A page in a browser.

    Attributes:
        trouble: errors that it ran into, violated policies included.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.trouble: list[str] = []
        self._socket = socket
        self._session: str | None = None
        self._sent = 0
        self._events: list[str] = []
        targets = self._ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._ask(f"{domain}.enable")

    def open(self, address: str) -> None:
        """Go to a page, and wait until it is there."""
        self._events.clear()
        self._ask("Page.navigate", url=address)
        self._await("Page.loadEventFired")

    def resize(self, width: int, height: int = 900) -> None:
        """Show the page as on a screen of so many pixels."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def type(self, *keys: str) -> None:
        """Press keys on the page."""
        for key in keys:
            self._press(key)

    def leave(self, key: str) -> None:
        """Press a key that leads to another page, and wait until that is there."""
        self._events.clear()
        self._press(key)
        self._await("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression on the page."""
        return self._ask("Runtime.evaluate", expression=script)["result"].get("value")

    def _press(self, key: str) -> None:
        text = _TEXTS.get(key, key)
        code = {"Enter": 13, "Escape": 27}.get(key, 0)
        down = {"type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": code}
        self._ask("Input.dispatchKeyEvent", **down)
        self._ask("Input.dispatchKeyEvent", **(down | {"type": "keyUp"}))

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._sent += 1
        number = self._sent
        message = {"id": number, "method": method, "params": params}
        self._socket.send(
            json.dumps(message | ({"sessionId": self._session} if self._session else {}))
        )
        while True:
            said = self._receive()
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]
            self._events.append(said["method"])

    def _await(self, event: str) -> None:
        while event not in self._events:
            self._events.append(self._receive()["method"])

    def _receive(self) -> dict[str, Any]:
        said = json.loads(self._socket.recv(timeout=30))
        if said.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
            self.trouble.append(json.dumps(said["params"]))
        return said
