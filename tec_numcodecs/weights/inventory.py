"""What the ``tec weights`` commands do: list, fetch, import and describe weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tec_numcodecs.errors import InvalidInput, WeightsError
from tec_numcodecs.models import table, weights_lookup
from tec_numcodecs.models.table import TERRACODEC
from tec_numcodecs.weights import local_store, published
from tec_numcodecs.weights.local_store import WeightsId
from tec_numcodecs.weights.safetensors_io import digest_of

_DIGEST = re.compile(r"[0-9a-f]{64}")


def models() -> list[dict[str, Any]]:
    """List the models, and which families of weights have each."""
    found = []
    for name in table.names():
        families = [family for family, entries in local_store.bundled().items() if name in entries]
        if any(family.model == name for family in published.FAMILIES.values()):
            families.append(published.PUBLISHED)
        found.append({"model": name, "about": table.about(name), "weights": families})
    return found


def listed() -> list[dict[str, Any]]:
    """List weights: identity, digest and place of what is here, the rest by its source."""
    found: list[dict[str, Any]] = []
    for family, entries in local_store.bundled().items():
        for model in entries:
            identity = local_store.resolve(family, model)
            found.append(_row(family, model, identity, str(local_store.locate(identity))))
    found += [
        _row(_family(item.weights), item.model, item.weights, str(item.path))
        for item in local_store.noted()
    ]
    for entry in (*published.FAMILIES.values(), published.LR_ONLY):
        lams = ", ".join(f"{lam:g}" for lam in entry.lams)
        found.append(
            {
                "weights": weights_lookup.LR_ONLY if entry.lr_only else published.PUBLISHED,
                "model": entry.model,
                "id": f"{entry.sensor}, lam {lams}",
                "sha256": None,
                "where": f"hub: {entry.repository}, fetched on first use",
            }
        )
    return found


def fetch(
    model: str, lam: float | None, *, sensor: str, nearest: bool, lr_only: bool, every: bool
) -> list[dict[str, Any]]:
    """Download published checkpoints that are not here, and freeze them.

    Raises
    ------
    InvalidInput
        There is no such checkpoint; the message lists what there is.
    WeightsError
        It cannot be had, or kept.
    """
    first = published.published(model, lam, sensor=sensor, nearest=nearest, lr_only=lr_only)
    if every and lam is not None:
        raise InvalidInput("both a rate and all rates", allowed="one of them")
    places = [first]
    if every:
        places = [
            published.published(model, value, sensor=sensor, lr_only=lr_only)
            for value in first.family.lams
        ]
    found = []
    for place in places:
        source = published.fetch(place)
        found.append(_imported(source, place.family.model, place.id) | {"source": str(source)})
    return found


def take_in(path: str, model: str | None, name: str | None) -> dict[str, Any]:
    """Freeze a checkpoint, or keep a file that is frozen already.

    Raises
    ------
    WeightsError
        The file is damaged, of another architecture, or cannot be kept.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"{path}: no such file", fix="check the path")
    if not weights_lookup.is_ours(file):
        return _imported(file, model, name)
    identity = local_store.identity(file, digest_of(file), name or local_store.local_name(file))
    kept = local_store.keep(file, identity.sha256)
    return _described(kept, identity)


def describe(what: str) -> dict[str, Any]:
    """Say what weights are: a file, an id, or a digest.

    Raises
    ------
    InvalidInput
        Nothing is called that.
    WeightsError
        The file is not here, or is none that we know.
    """
    path = Path(what).expanduser()
    if path.is_file():
        if not weights_lookup.is_ours(path):
            return _source(path)
        return _described(path, local_store.identity(path, digest_of(path)))
    place = published.by_id(what)
    for row in listed():
        if row["sha256"] is not None and what in (row["id"], row["sha256"]):
            identity = WeightsId(row["id"], row["sha256"])
            return _described(local_store.locate(identity), identity)
    if place is not None:
        raise WeightsError(
            f"{what} is not on this machine",
            fix=f"run `{place.command}`, or download {place.url}",
        )
    if _DIGEST.fullmatch(what):
        identity = local_store.by_prefix(bytes.fromhex(what[:16]))
        return _described(local_store.locate(identity), identity)
    raise InvalidInput(
        f"weights {what!r}",
        allowed="a file, an id of `tec weights list`, or a SHA-256",
    )


def _imported(path: Path, model: str | None, name: str | None) -> dict[str, Any]:
    from tec_numcodecs.models.terracodec.importing import import_checkpoint

    imported = import_checkpoint(path, model=model, name=name)
    return _described(imported.path, imported.weights)


def _described(path: Path, identity: WeightsId) -> dict[str, Any]:
    """Describe a file that codecs use."""
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    found = {
        "id": identity.id,
        "sha256": identity.sha256,
        "path": str(path),
        "family": identity.family,
        "bytes": path.stat().st_size,
        "tensors": len(shapes),
    }
    if identity.family != TERRACODEC.name:
        return found
    from tec_numcodecs.models.terracodec import importing

    return found | _architecture(importing.describe(path, identity))


def _source(path: Path) -> dict[str, Any]:
    """Describe a checkpoint that has not been frozen."""
    from tec_numcodecs.models.terracodec import importing

    state = importing.read_source(path)
    model = importing.checked(state)
    place = published.by_file(path.name)
    return {
        "id": None if place is None else place.id,
        "sha256": None,
        "path": str(path),
        "family": TERRACODEC.name,
        "bytes": path.stat().st_size,
        "tensors": len(state),
        "parameters": sum(t.numel() for t in state.values() if t.is_floating_point()),
        "model": model,
        "source_sha256": digest_of(path),
        "frozen": False,
    }


def _architecture(imported: Any) -> dict[str, Any]:
    return {
        "model": imported.model,
        "bands": imported.bands,
        "widths": list(imported.widths),
        "source_sha256": imported.source_sha256,
        "frozen": True,
    }


def _row(family: str, model: str, identity: WeightsId, where: str) -> dict[str, Any]:
    return {
        "weights": family,
        "model": model,
        "id": identity.id,
        "sha256": identity.sha256,
        "where": where,
    }


def _family(identity: WeightsId) -> str:
    """What to pass as ``weights=`` for a frozen checkpoint."""
    place = published.by_id(identity.id)
    if place is None:
        return "(a path)"
    return weights_lookup.LR_ONLY if place.family.lr_only else published.PUBLISHED
