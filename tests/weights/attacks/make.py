"""Write the attack files: weights that lie about themselves, and pickles that carry code.

    python tests/weights/attacks/make.py

They are committed: what a later version of a library accepts must be noticed. The code in the
pickles would only create a file named ``tec-attack-ran`` in the working directory.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
DATA = bytes(range(16))


def safetensors(header: object, data: bytes = DATA, length: int | None = None) -> bytes:
    """A file with this header (JSON, or bytes as they are)."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(
    begin: int = 0, end: int = 16, dtype: str = "F32", shape: tuple[int, ...] = (4,)
) -> dict[str, object]:
    """An entry of a header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def frozen(said: object, **tensors: dict[str, object]) -> bytes:
    """A file that claims to be a frozen checkpoint."""
    text = said if isinstance(said, str) else json.dumps(said)
    return safetensors({"__metadata__": {"tec": text}, **(tensors or GOOD)})


GOOD = {"a": tensor()}
ORIGIN = {"format": "tec-frozen-1", "model": "fp", "source_sha256": "0" * 64, "freezer": 1}
SAFETENSORS = {
    "empty": b"",
    "seven-bytes": b"\0" * 7,
    "header-longer-than-file": safetensors(GOOD, length=1 << 20),
    "header-of-2-63-bytes": safetensors(GOOD, length=1 << 63),
    "header-of-2-64-1-bytes": safetensors(GOOD, length=(1 << 64) - 1),
    "header-of-no-bytes": safetensors(b"", length=0),
    "header-no-json": safetensors(b"{'a': 1}"),
    "header-no-utf8": safetensors(b'{"\xff\xfe": {}}'),
    "header-a-list": safetensors([1, 2]),
    "header-nested-10000-deep": safetensors(b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    "duplicate-keys": safetensors(
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
        b'"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}'
    ),
    "duplicate-keys-escaped": safetensors(
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
        b'"\\u0061":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    ),
    "duplicate-keys-in-metadata": safetensors(
        b'{"__metadata__":{"of":"1","of":"2"},'
        b'"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    ),
    "header-of-100-mb-and-more": safetensors(GOOD, length=100_000_001),
    "header-followed-by-nul": safetensors(json.dumps(GOOD).encode() + b"\0"),
    "byte-behind-the-end": safetensors(GOOD, DATA + b"\0"),
    "offsets-beyond-file": safetensors({"a": tensor(0, 1 << 40, shape=(1 << 38,))}),
    "offsets-of-2-64": safetensors({"a": tensor((1 << 64) - 16, (1 << 64) - 1)}),
    "offsets-reversed": safetensors({"a": tensor(16, 0)}),
    "offsets-negative": safetensors({"a": tensor(-16, 0)}),
    "offsets-overlap": safetensors({"a": tensor(), "b": tensor(8, 16, shape=(2,))}),
    "offsets-with-a-hole": safetensors({"a": tensor(4, 16, shape=(3,))}),
    "offsets-short-of-the-end": safetensors({"a": tensor(0, 8, shape=(2,))}),
    "shape-other-than-size": safetensors({"a": tensor(shape=(5,))}),
    "shape-overflows": safetensors({"a": tensor(shape=(1 << 32, 1 << 32, 1 << 32))}),
    "shape-negative": safetensors({"a": tensor(shape=(-4,))}),
    "shape-of-nothing-overflows": safetensors(
        {"a": tensor(), "b": tensor(16, 16, shape=(0, 1 << 63))}
    ),
    "shape-of-100-axes": safetensors({"a": tensor(shape=(4,) + (1,) * 99)}),  # torch has no limit
    "dtype-bf16": safetensors({"a": tensor(dtype="BF16", shape=(8,))}),  # torch has it, NumPy not
    "dtype-unknown": safetensors({"a": tensor(dtype="OBJECT")}),
    "metadata-no-strings": safetensors({"__metadata__": {"tec": {"x": 1}}, **GOOD}),
    "other-tensors": safetensors(GOOD),  # a good file, but no weights of ours
    "frozen-of-no-json": frozen("{"),
    "frozen-of-json-10000-deep": frozen("[" * 10_000),
    "frozen-of-a-list": frozen([1]),
    "frozen-of-a-model-that-is-a-list": frozen(ORIGIN | {"model": []}),
    "frozen-of-a-format-to-come": frozen(ORIGIN | {"format": "tec-frozen-9"}),
    "frozen-without-tensors": frozen(ORIGIN),
    "frozen-with-a-scalar": frozen(
        ORIGIN,
        **{"g_a.0.weight": tensor(0, 4, shape=()), "g_a.6.weight": tensor(4, 16, shape=(3,))},
    ),
    "frozen-with-a-name-twice": safetensors(
        json.dumps({"__metadata__": {"tec": json.dumps(ORIGIN)}, **GOOD}).encode()[:-1]
        + b',"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}'
    ),
}


class _Code:
    """Unpickles to a call."""

    def __reduce__(self) -> tuple[object, ...]:
        return open, ("tec-attack-ran", "w")


def archive(content: bytes) -> bytes:
    """A file as ``torch.save`` writes it, with this pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in (("data.pkl", content), ("version", b"3"), ("byteorder", b"little")):
            file.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    return out.getvalue()


PICKLES = {
    "code-in-archive": archive(pickle.dumps({"model": _Code()}, 2)),
    "code-in-key": archive(pickle.dumps({_Code(): 1}, 2)),
    "code-in-legacy-file": pickle.dumps(_Code(), 2),
    "global-of-os": archive(b"cos\nsystem\n(S'touch tec-attack-ran'\ntR."),
    "global-of-builtins": archive(b'c__builtin__\neval\n(S\'open("tec-attack-ran", "w")\'\ntR.'),
    "numbers-only": archive(pickle.dumps({"a": 1, "b": [2, 3]}, 2)),
    "cut-off": archive(pickle.dumps({"model": _Code()}, 2))[:-40],
    "no-archive": b"PK\3\4" + bytes(60),
    "empty": b"",
}


def main() -> None:
    """Write what is not there yet."""
    for suffix, files in ((".safetensors", SAFETENSORS), (".pt", PICKLES)):
        for name, data in files.items():
            path = HERE / f"{name}{suffix}"
            if not path.exists():
                path.write_bytes(data)


if __name__ == "__main__":
    main()
