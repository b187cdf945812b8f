"""Around the file server: failures by request, read from a file that tests write."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

PLAN = "faults.json"  # {"folder/B04.tif": ["404", "stall", ...]}: one for each request, in order
LOG = "requests.log"


def plan(directory, **faults):
    """Set what happens to requests for a path, one after the other; the last goes on for ever."""
    Path(directory, PLAN).write_text(json.dumps(faults), encoding="utf-8")


class Faults:
    """An ASGI application that fails by plan, and passes everything else on."""

    def __init__(self, app, directory: Path) -> None:
        self.app, self.directory = app, directory
        self.used: dict[str, int] = {}
        self.plan_text = ""

    def next_fault(self, path: str, headers) -> str:
        file = self.directory / PLAN
        text = file.read_text(encoding="utf-8") if file.exists() else "{}"
        if text != self.plan_text:
            self.plan_text, self.used = text, {}
        steps = json.loads(text).get(path)
        if steps is None:
            return ""
        # What GDAL asks first is the header of the file; "later" faults spare it.
        start = headers.get(b"range", b"bytes=0-").decode().partition("=")[2].partition("-")[0]
        if steps and steps[0].startswith("later-"):
            if start == "0":
                return ""
            steps = [step.removeprefix("later-") for step in steps]
        number = self.used[path] = self.used.get(path, 0) + 1
        return steps[min(number, len(steps)) - 1]

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].lstrip("/")
        fault = self.next_fault(path, dict(scope["headers"]))
        with (self.directory / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{scope['method']} {path} {fault}\n")
        if fault.isdigit():
            await send({"type": "http.response.start", "status": int(fault), "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
        elif fault == "stall":
            await asyncio.sleep(3600)
        elif fault == "cut":
            await self.app(scope, receive, _half(send))
        else:
            await self.app(scope, receive, send)


def _half(send):
    """Announce a whole body, send half of it, and hang."""

    async def cut(message):
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            await send({**message, "body": body[: len(body) // 2], "more_body": True})
            await asyncio.sleep(3600)
        await send(message)

    return cut
