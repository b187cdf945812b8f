"""The cluster that commands start for themselves: it leaves nothing on the screen."""

from __future__ import annotations

import subprocess
import sys

CLOSING = """
import logging, os, time
from tec_xarray.execution.cluster import find_client, workers

def grumble():
    import logging
    logging.getLogger("distributed.worker").error("a heartbeat failed")

async def grumble_here():
    logging.getLogger("distributed.scheduler").error("an unknown worker")

if __name__ == "__main__":
    before = dict(os.environ)
    with workers(2):
        client = find_client()
        client.run(grumble)
        client.sync(grumble_here)
        busy = client.map(time.sleep, [0.2] * 4)  # closed while workers have something to do
        logging.getLogger("distributed").error("of another cluster")
    logging.getLogger("distributed").error("of a later cluster")
    changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
    print(*sorted(changed))
"""


def test_it_closes_without_a_word_and_others_may_speak(tmp_path):
    script = tmp_path / "closing.py"
    script.write_text(CLOSING)
    done = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True)
    said = [line.rpartition(" - ")[2] for line in done.stderr.splitlines()]
    assert said == ["of another cluster", "of a later cluster"]
    # Nothing that workers were told stays in this process; the names that are left are Dask's.
    assert not {name for name in done.stdout.split() if name.startswith(("DASK_LOGGING", "OMP"))}
