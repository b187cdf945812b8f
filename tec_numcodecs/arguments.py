"""Arguments as people give them: numbers, switches, names; checked here, refused in our words.

Whatever is a number for Python or NumPy is one here, but a bool is none, and neither is text.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from tec_numcodecs.errors import InvalidInput, UnsupportedFormat
from tec_numcodecs.redaction import for_message

#: What to do about something that this version does not know.
NEWER = "a newer tec-xarray may know it: pip install -U tec-xarray"

_MOST_SHOWN = 80  # characters of a value in a message


def shown(value: object) -> str:
    """Return a value as a message shows it: short, without secrets, whatever its repr does."""
    try:
        # Secrets go before the cut: half a URL no longer shows which part of it is a password.
        text = " ".join(for_message(repr(value)).split())
    except Exception:  # noqa: BLE001 (a number of 5,000 digits has no repr, others' may do anything)
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def as_number(value: object) -> float | None:
    """Return a number as a float, maybe NaN or infinite; None if it is no number.

    Parameters
    ----------
    value : object
        Numbers are Python's, NumPy's, fractions, decimals, and arrays without axes that hold one.
    """
    value = _scalar(value)
    if not isinstance(value, int | float | Real | Decimal):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf  # of either sign: no finite number
    except ValueError:  # a signaling NaN
        return None


def number(name: str, value: object) -> float:
    """Check a finite number.

    Raises
    ------
    InvalidInput
        It is none.
    """
    found = as_number(value)
    if found is None or not math.isfinite(found):
        raise InvalidInput(
            f"{name}={shown(value)}",
            allowed="a finite number",
            fix=f"pass {name} as a plain number, or leave it out",
        )
    return found


def positive(name: str, value: object, most: float = math.inf) -> float:
    """Check a finite number above 0.

    Raises
    ------
    InvalidInput
        It is none, or more than the most that makes sense.
    """
    found = as_number(value)
    if found is None or not 0 < found < math.inf or found > most:
        raise InvalidInput(
            f"{name} = {shown(value)}",
            allowed="a number > 0" + ("" if math.isinf(most) else f", up to {most:g}"),
            fix=f"pass {name} as a plain number, or leave it out",
        )
    return found


def whole(name: str, value: object, low: int, high: int | None = None) -> int:
    """Check a whole number between two others, both included.

    Raises
    ------
    InvalidInput
        It is none, or outside.
    """
    try:
        found = operator.index(_scalar(value))  # type: ignore[arg-type]
    except TypeError:
        found = low - 1
    if found < low or (high is not None and found > high):
        raise InvalidInput(
            f"{name}={shown(value)}",
            allowed=f"{low} or {high}" if high == low + 1 else _range(low, high),
            fix=f"pass {name}={low}, for example, or leave it out",
        )
    return found


def _range(low: int, high: int | None) -> str:
    return f"whole numbers from {low}" + ("" if high is None else f" to {high}")


def switch(name: str, value: object) -> bool:
    """Check a bool, Python's or NumPy's.

    Raises
    ------
    InvalidInput
        It is none.
    """
    if not isinstance(value, bool | np.bool_):
        raise InvalidInput(
            f"{name}={shown(value)}",
            allowed="True or False",
            fix=f"pass {name}=True, or leave it out",
        )
    return bool(value)


def choice(name: str, value: object, allowed: Collection[str], fix: str | None = None) -> str:
    """Check a word out of several.

    Raises
    ------
    InvalidInput
        It is another.
    """
    if not isinstance(value, str) or value not in allowed:
        words = [repr(word) for word in allowed]
        raise InvalidInput(
            f"{name}={shown(value)}",
            allowed=" or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words),
            fix=fix or f"pass {name}={words[0]}, for example",
        )
    return str(value)


def text(name: str, value: object, example: str) -> str:
    """Check text that is not empty, and can be printed.

    Raises
    ------
    InvalidInput
        It is empty, or no text.
    """
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InvalidInput(
            f"{name}={shown(value)}",
            allowed="printable text that is not empty",
            fix=f"pass {name}={example!r}, for example, or leave it out",
        )
    return str(value)


def mapping(name: str, value: object, example: str) -> dict[str, Any]:
    """Check a dict with names for keys.

    Raises
    ------
    InvalidInput
        It is none.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(
            f"{name}={shown(value)}",
            allowed="a dict with text for keys",
            fix=f"pass {name}={example}, for example, or leave it out",
        )
    return dict(value)


def check_keys(given: Iterable[object], allowed: Collection[str], what: str) -> None:
    """Check the keys of something that was read: an unknown one may change what the rest means.

    Raises
    ------
    UnsupportedFormat
        One of them is none that this version knows.
    """
    unknown = [key for key in given if not isinstance(key, str) or key not in allowed]
    if unknown:
        first = unknown[0] if isinstance(unknown[0], str) else ""
        close = difflib.get_close_matches(first[:_MOST_SHOWN], allowed, n=1)
        raise UnsupportedFormat(
            f"the {what} {', '.join(map(shown, unknown[:3]))}"
            + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""),
            allowed=", ".join(allowed),
            fix=(f"did you mean {close[0]!r}? " if close else "") + NEWER,
        )


def known(given: Iterable[str], allowed: Collection[str], of: str) -> None:
    """Check the names of settings that are passed on.

    Raises
    ------
    InvalidInput
        One of them is none.
    """
    unknown = [name for name in given if name not in allowed]
    if unknown:
        close = difflib.get_close_matches(unknown[0][:_MOST_SHOWN], allowed, n=1)
        raise InvalidInput(
            f"the setting {', '.join(map(shown, unknown))} of {of}",
            allowed=", ".join(allowed) or "none there",
            fix=f"did you mean {close[0]!r}?" if close else "leave it out",
        )


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Join names for a message, and count those that are left out."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def sequence(name: str, value: object, of: str, example: str) -> list[Any]:
    """Check a list, or whatever else has an order.

    Parameters
    ----------
    name : str
    value : object
    of : str
        What it is a list of, in the plural.
    example : str

    Raises
    ------
    InvalidInput
        It is a single value, text, or has no order.
    """
    unordered = isinstance(value, str | bytes | bytearray | AbstractSet | Mapping)
    flat = getattr(value, "ndim", 1) == 0
    if unordered or flat or not isinstance(value, Iterable):
        raise InvalidInput(
            f"{name}={shown(value)}", allowed=f"a list of {of}", fix=f"pass {name}={example}"
        )
    return list(value)


def _scalar(value: object) -> object:
    """Take a value out of an array without axes; None for what is a number by name only."""
    if getattr(value, "ndim", None) == 0 and not isinstance(value, np.generic):
        try:
            value = np.asarray(value)[()]
        except (TypeError, ValueError, RuntimeError):  # a tensor on another device, say
            return None
    return None if isinstance(value, bool | np.bool_ | np.timedelta64) else value
