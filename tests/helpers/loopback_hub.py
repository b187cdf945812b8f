"""A hub on the loopback interface, and programs that are pointed at it."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import nursery
from tec_numcodecs.weights import published


class Hub(http.server.BaseHTTPRequestHandler):
    """Speaks as much of the protocol as a download needs."""

    files: dict[str, bytes]
    log: list[tuple[str, str]]
    truncate = False

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.log.append((self.command, self.path))
        data = self.files.get(self.path)
        if data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if self.truncate else data)

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(files: Mapping[published.Published, bytes]) -> Iterator[tuple[type[Hub], str]]:
    """Serve published files; gives the handler, to change its ways, and the endpoint."""
    paths = {f"/{p.repository}/resolve/main/{p.file}": data for p, data in files.items()}
    handler = type("Handler", (Hub,), {"files": paths, "log": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield handler, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(
    home: Path, *command: str, without_override: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own: the hub's client reads its settings at import.

    Parameters
    ----------
    home : Path
        Where its caches are: ``hub`` and ``cache`` in it.
    *command : str
        What comes after ``python``.
    without_override : bool
        Make file permissions count for root, too.
    **environment : str
        More variables.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TEC_"))}
    env |= {"HF_HOME": str(home / "hub"), "XDG_CACHE_HOME": str(home / "cache")}
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
    return nursery.run(command, env, without_override=without_override)


def permissions_count() -> bool:
    """Tell whether `without_override` can be had here."""
    return os.geteuid() != 0 or sys.platform == "linux"
