"""Whether a server can be reached at all, found out in seconds.

A hub's client tries again for half a minute before it says that there is no network.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import urllib.parse
import urllib.request

PATIENCE = 4.0  # seconds, for the name and for the connection together


def reason_unreachable(url: str) -> str | None:
    """Say why no connection to the server of a URL can be made; None if one can.

    Behind a proxy nothing is tried: only the client knows how to speak to it.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname
    if not host or (_proxied(parts.scheme) and not urllib.request.proxy_bypass(host)):
        return None
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:
        return None  # the client says what is wrong with the URL
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=PATIENCE).close()
        except OSError as error:
            answers.put(f"no connection to {host}: {error.strerror or error}")
        else:
            answers.put(None)

    # In a thread: a name is looked up without any limit of time.
    thread = threading.Thread(target=connect, name="tec-reachable", daemon=True)
    with contextlib.suppress(RuntimeError):  # no more threads: the client finds out
        thread.start()
        with contextlib.suppress(queue.Empty):
            return answers.get(timeout=PATIENCE)
        return f"no connection to {host} within {PATIENCE:g} s"
    return None


def _proxied(scheme: str) -> bool:
    names = (f"{scheme}_proxy", "all_proxy")
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in names):
        return True
    return scheme in urllib.request.getproxies()
