"""Messages in the words of the command line: ``pass nodata=0`` is ``pass --nodata 0`` there."""

from __future__ import annotations

import re

from tec_numcodecs.errors import TecError

# Keyword arguments that are options; those of another name, or with a meaning of their own.
_OPTIONS = (
    "model", "lam", "quality", "weights", "nearest", "max_error", "psnr", "bpppb", "per", "bands",
    "sensor", "variable", "units", "scale", "offset", "nodata", "cf", "chunks", "shards",
    "zarr_format", "appendable", "embed_weights", "retries", "device", "batch_size", "group",
    "bbox", "datetime",
    "collection", "query", "resolution", "crs", "harmonize", "sign", "on_bad_item", "allow_local",
    "lr_only", "mask", "clouds", "classes", "dilate", "method",
)  # fmt: skip
_FLAGS = {name: f"--{name.replace('_', '-')}" for name in _OPTIONS}
_FLAGS |= {"resources": "--resource", "allow_hosts": "--allow-host", "original": "--original"}
_SWITCHES = ("nearest", "cf", "appendable", "embed_weights", "allow_local", "lr_only")
_WHOLE = {
    "mode='w'": "--overwrite",
    "'w-' is for a new store, 'w' replaces": "--overwrite replaces a store",
    "region=": "region= (in Python only)",
    "store=": "OUT",
    "shards=False": "--shards none",
    "nodata=None": "--nodata none",
}
_VALUE = r"\{[^{}]*\}|\[[^\[\]]*\]|\([^()]*\)|'[^']*'|\"[^\"]*\"|[^\s,;:()]*[^\s,;:().]|"
_ARGUMENT = re.compile(rf"(?<![\w.\-])({'|'.join(_FLAGS)}) ?=(?!=) ?({_VALUE})")
_PYTHON = re.compile(
    r"\bds[.\[]|\bxr\.|\.astype\(|\.where\(|\.drop_codec|tec_xarray\.|mask_and_scale"
)


def message_of(error: BaseException) -> str:
    """Return what an error says, with flags where it names arguments of Python."""
    if not isinstance(error, TecError):
        return in_flags(str(error))
    parts = [in_flags(error.found)]
    if error.allowed:
        parts.append(f"allowed: {in_flags(error.allowed)}")
    if error.fix:
        # What no flag does stays as it is, and says where it is done.
        python = "in Python: " if _PYTHON.search(error.fix) else ""
        parts.append(python + in_flags(error.fix))
    return "; ".join(parts)


def in_flags(text: str) -> str:
    """Replace ``name=value`` by ``--name value`` for everything that is an option."""
    for python, flag in _WHOLE.items():
        text = re.sub(rf"(?<![\w.]){re.escape(python)}", flag, text)
    return _ARGUMENT.sub(lambda hit: _flag(hit[1], hit[2]), text)


def _flag(name: str, value: str) -> str:
    flag = _FLAGS[name]
    if name in _SWITCHES and value in ("True", "False"):
        return flag if value == "True" else flag.replace("--", "--no-", 1)
    if not value:
        return flag
    return f"{flag} {_word(value)}"


def _word(value: str) -> str:
    """Write a value as a shell takes it: names and numbers with commas, pairs with ``=``."""
    if value[0] in "[({":
        items = [item.strip() for item in value[1:-1].split(",") if item.strip()]
        return ",".join(re.sub(r"\s*:\s*", "=", item).replace("'", "") for item in items)
    return value.strip("'\"") or "''"
