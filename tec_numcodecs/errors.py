"""The errors that leave this package: one base class, five kinds.

Every message says what was found, what is allowed and how to mend it, in that order, so that it
can be read aloud to somebody who has never seen the code. What was found may come from metadata or
a URL: messages are cut to a readable length, and secrets in them are hidden (`redaction`).
"""

from __future__ import annotations

from tec_numcodecs.redaction import for_message


class TecError(Exception):
    """Base class of every error that tec raises on purpose.

    Parameters
    ----------
    found : str
        What was met, with its value: ``"lam = -1"``.
    allowed : str, optional
        What would have been accepted: ``"a number > 0"``.
    fix : str, optional
        What to do about it, as an instruction: ``"pass lam=20"``.
    """

    def __init__(self, found: str, *, allowed: str | None = None, fix: str | None = None) -> None:
        found = for_message(found)
        allowed, fix = (text and for_message(text) for text in (allowed, fix))
        super().__init__(found, allowed, fix)
        self.found = found
        self.allowed = allowed
        self.fix = fix

    def __str__(self) -> str:
        parts = [self.found]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.fix:
            parts.append(self.fix)
        return "; ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # The default reduction loses keyword arguments; errors cross Dask's process boundaries.
        return _rebuild, (type(self), self.found, self.allowed, self.fix)


class InvalidInput(TecError, ValueError):
    """The caller's arguments or data cannot be used as they are."""


class CorruptChunk(TecError, ValueError):
    """Bytes of a chunk are damaged, truncated or contradict themselves."""


class UnsupportedFormat(TecError, ValueError):
    """A chunk needs a newer reader, or a model that this installation does not know."""


class WeightsError(TecError, LookupError):
    """Weights are missing, unreadable, or not the ones that a chunk names."""


class MissingExtra(TecError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


def _rebuild(kind: type[TecError], found: str, allowed: str | None, fix: str | None) -> TecError:
    return kind(found, allowed=allowed, fix=fix)
