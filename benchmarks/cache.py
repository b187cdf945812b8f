"""Results of other codecs, so that only our own are measured again when we change something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.metrics import Point
from benchmarks.rivals import Rival
from benchmarks.scenes import Scene

RESULTS = Path(__file__).parent / "results"


class Cache:
    """A JSON file of points by codec and its revision, setting and digest of the scene."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._points: dict[str, Point] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, rival: Rival, setting: float, scene: Scene) -> Point | None:
        """Return what was measured, or None."""
        return self._points.get(_key(rival, setting, scene))

    def put(self, rival: Rival, setting: float, scene: Scene, point: Point) -> None:
        """Remember a point."""
        self._points[_key(rival, setting, scene)] = shortened(point)

    def save(self) -> None:
        """Write the file, a line for each point."""
        self._path.parent.mkdir(exist_ok=True)
        points = sorted(self._points.items())
        lines = (f"{json.dumps(key)}: {json.dumps(point)}" for key, point in points)
        self._path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def shortened(value: Any) -> Any:
    """Round all floats within to six digits: more are noise, and the files are kept in git."""
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _key(rival: Rival, setting: float, scene: Scene) -> str:
    return f"{rival.name} r{rival.revision} {setting:g} {scene.digest}"
