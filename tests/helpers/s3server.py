"""An S3 server on this machine (moto's, a real one over HTTP), for as long as a context lasts."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import s3fs

from loopback import no_proxy

BUCKET = "archives"
KEYS = {"key": "testing", "secret": "testing"}  # moto takes any


@contextlib.contextmanager
def serve_s3() -> Iterator[str]:
    """Run a server with one empty bucket; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    # It logs every request: a pipe that nobody reads would stop it.
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process)
            s3fs.S3FileSystem(endpoint_url=url, **KEYS).mkdir(BUCKET)
            yield url
        finally:
            process.terminate()


@contextlib.contextmanager
def s3_options() -> Iterator[dict[str, Any]]:
    """Run a server as `serve_s3`; yields storage options that lead to it, past any proxy."""
    with no_proxy(), serve_s3() as url:
        yield {"endpoint_url": url, **KEYS}


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"the S3 server ended with {process.returncode}")
