"""Text that may be shown, logged or stored: without secrets, on one page, printable.

URLs carry user info, signatures and tokens. Whatever of ours ends in a message, a log or an
attribute of an archive goes through `redact` first. Errors of `tec_numcodecs.errors` do so by
themselves (`for_message`).
"""

from __future__ import annotations

import re

REDACTED = "***"

_MOST_CHARACTERS = 1000  # of one part of a message

# Names of query parameters that say what was asked for, not who asks. Others lose their value:
# every provider of signed URLs has names of its own, and new ones come.
_HARMLESS = frozenset(
    "bbox collection collections crs datetime f fields format id ids item items lang limit "
    "list-type next offset page prefix query sortby start version versionid".split()
)
# Looking back keeps each pattern linear: a word is tried from its beginning only. Repetitions that
# could be tried from each of their parts have a limit.
_SCHEME = r"(?:(?<![A-Za-z0-9+.-])[A-Za-z0-9+.-]+(?:::[A-Za-z0-9+.-]+){0,8}://|/vsi[a-z0-9_]+[/?])"
_URL = re.compile(rf"{_SCHEME}[^\s<>]+")
# A colon in the authority that no port follows begins a password, which may hold any character.
_PASSWORD = re.compile(r"://[^\s/?#@:]*:(?!\d{1,5}(?:[/?#\s'\")]|$))[^\s]{0,4096}@")
_USER = re.compile(r"://[^\s/?#]*@")
_PARAMETER = re.compile(r"([?&;#])([^=?&;#\s'\"<>]*)=([^&;#\s'\"<>]*)")
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}")
_SECRETS = (
    "access_?key(?:_?id)?|account_?key|api_?key|auth(?:orization)?|client_?secret|connection_?string"
    "|credentials?|passw(?:or)?d|sas_?token|secret(?:_?access)?(?:_?key)?|session_?token|sig(?:nature)?"
    "|(?:access_?|id_?|refresh_?)?token"
)
_ASSIGNED = re.compile(
    rf"(?i)(?<![A-Za-z0-9_-])((?:[a-z0-9]+[_-])*(?:{_SECRETS})(?:\s*=|['\"]\s*[=:])\s*)"
    r"('[^']*'|\"[^\"]*\"|[^\s,;&)}\]'\"]+)"
)
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


def redact(text: str) -> str:
    """Return text without the secrets of the URLs, headers and settings in it.

    User info of a URL, and the values of all query parameters but those known to be harmless
    (``limit``, ``bbox``, ...), become ``***``; so do bearer tokens, tokens of the Hugging Face
    hub, and what is assigned to names such as ``secret``, ``token`` or ``AccountKey``.

    Parameters
    ----------
    text : str
        A URL, or a message that may hold some.

    Returns
    -------
    str

    Examples
    --------
    >>> redact("https://ann:pw@example.com/a.tif?sig=8f2&limit=10")
    'https://***@example.com/a.tif?sig=***&limit=10'
    """
    if "://" in text and "@" in text:
        text = _PASSWORD.sub(f"://{REDACTED}@", text)
    text = _URL.sub(lambda found: _redact_url(found.group()), text)
    text = _HEADER.sub(rf"\1 {REDACTED}", text)
    text = _HUB_TOKEN.sub(REDACTED, text)
    return _ASSIGNED.sub(_keep_name, text)


def shorten(text: str, most: int = _MOST_CHARACTERS) -> str:
    """Cut text to a readable length: its beginning, how much was left out, and its end.

    Parameters
    ----------
    text : str
    most : int
        Characters that are kept, at least.
    """
    if len(text) <= most + 40:
        return text
    head = most * 3 // 4
    left_out = len(text) - most
    return f"{text[:head]} ... ({left_out} characters) ... {text[head + left_out :]}"


def printable(text: str) -> str:
    """Return text whose control characters are escaped; line feeds stay."""
    if text.isprintable():
        return text
    return "".join(
        c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def for_message(text: str) -> str:
    """Return text as a message shows it: printable, short, and without secrets."""
    # Patterns must not work through megabytes. What is cut before them has no end of its own: it
    # might begin inside of a secret, where no pattern would find it.
    return shorten(redact(printable(text[: 8 * _MOST_CHARACTERS])))


def _redact_url(url: str) -> str:
    url = _USER.sub(f"://{REDACTED}@", url)
    return _PARAMETER.sub(_redact_parameter, url)


def _redact_parameter(found: re.Match[str]) -> str:
    start, name, value = found.groups()
    harmless = name.lower() in _HARMLESS or not value
    return f"{start}{name}={value if harmless else REDACTED}"


def _keep_name(found: re.Match[str]) -> str:
    """Hide a value, but not a literal that says there is none."""
    name, value = found.groups()
    if value.strip("'\"") in ("None", "True", "False", "", REDACTED):
        return found.group()
    return f"{name}{REDACTED}"
