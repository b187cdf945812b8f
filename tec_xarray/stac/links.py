"""Which files an item may name: what came over the network must not open what lies here.

GDAL opens anything that a name can describe: local files, archives in archives, XML text that
names other files, other protocols. So an item from a catalog may name plain files of a web server
or an object store, which are read as GeoTIFF or JPEG 2000 only, and no server of this machine or
its network that the user did not ask for.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
import time
import unicodedata
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

from tec_numcodecs.arguments import sequence, shown, switch, text
from tec_numcodecs.errors import InvalidInput

LOOPBACK, LINK_LOCAL, PRIVATE, PUBLIC = "loopback", "link-local", "private", "public"

_STORES = ("s3", "gs", "az")  # object stores: the name of a bucket in place of a host
_WEB = ("http", "https")
_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f\\]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_OWN_NAMES = (".local", ".internal", ".intranet", ".lan", ".home.arpa", ".corp")
_KEEP = 60  # seconds that an answer about a name is used again
# Metadata of a file that make GDAL open other files, whatever their format and wherever they lie.
NAMING_DOMAINS = ("OVERVIEWS", "GEOLOCATION")


@dataclass(frozen=True)
class LinkPolicy:
    """What the links of an item may name.

    Attributes
    ----------
    local : bool
        Whether anything that GDAL can open is allowed: local files, archives, VRT.
    hosts : tuple of str
        Names of hosts that are allowed wherever they lie; ``*.example.com`` stands for all below.
    near : tuple of str
        Kinds of addresses beside public ones that are allowed, since the catalog has such a one.
    """

    local: bool = False
    hosts: tuple[str, ...] = ()
    near: tuple[str, ...] = ()

    @classmethod
    def of_catalog(cls, url: str, hosts: Iterable[str], *, local: bool) -> Self:
        """Return what items of a catalog may name.

        A catalog on this machine may name servers of this machine and of its network, one in a
        private network others of that network. A link-local address is its own only.
        """
        parts = urlsplit(url)
        kinds = _kinds(parts)
        near = (LOOPBACK, PRIVATE) if LOOPBACK in kinds else (PRIVATE,) if PRIVATE in kinds else ()
        own = [] if parts.hostname is None else [_plain_host(parts.hostname)]
        return cls(local, tuple(sorted({*hosts, *own})), near)

    @classmethod
    def of_own(cls, hosts: Iterable[str], *, local: bool) -> Self:
        """Return what items of the caller's own may name: without `local`, public files only."""
        return cls(local, tuple(hosts), (LOOPBACK, LINK_LOCAL, PRIVATE) if local else ())

    def check(self, link: str, *, signed: bool = False) -> None:
        """Refuse a link that names something else, by its text alone.

        Parameters
        ----------
        link : str
        signed : bool
            Whether a function of the user will make another link of it: then it may have a scheme
            that only that function knows.

        Raises
        ------
        InvalidInput
            It names a file of this machine, a way around, or a host that is not allowed.
        """
        found = _SCHEME.match(link)
        scheme = found[1].lower() if found else ""
        if scheme not in (*_WEB, *_STORES):
            if self.local or (signed and scheme and scheme.isalnum() and scheme != "file"):
                return
            raise InvalidInput(
                f"a link to {shown(link)}",
                allowed="https, http, s3, gs and az in items that came over the network",
                fix="if files of this machine are meant, pass allow_local=True",
            )
        if _NOT_IN_URLS.search(link):
            raise InvalidInput(f"a link with spaces or control characters: {shown(link)}")
        parts = _split(link)
        if not parts.netloc:
            raise InvalidInput(f"a link without a host: {shown(link)}")
        if "@" in parts.netloc or "%" in parts.netloc:
            raise InvalidInput(f"a link with user info, or an encoded host: {shown(link)}")
        if scheme in _WEB:
            self._check_kind(parts, _kind_of_name(parts.hostname or ""))

    def check_address(self, link: str) -> None:
        """Refuse a link whose host has an address that is not allowed, as names say nothing.

        Raises
        ------
        InvalidInput
            See `check`.
        """
        self.check(link)
        found = _SCHEME.match(link)
        if found and found[1].lower() in _WEB:
            parts = _split(link)
            for kind in _kinds(parts):
                self._check_kind(parts, kind)

    def driver(self, link: str, media_type: str | None) -> str | None:
        """Return the only driver that may read a file; None for any."""
        if self.local:
            return None
        jpeg = "jp2" in (media_type or "").lower() or urlsplit(link).path.lower().endswith(".jp2")
        return "JP2OpenJPEG" if jpeg else "GTiff"

    def _check_kind(self, parts: SplitResult, kind: str) -> None:
        if kind == PUBLIC or kind in self.near or self._is_declared(parts):
            return
        raise InvalidInput(
            f"a link to {shown(parts.hostname)}, a {kind} address",
            allowed="public hosts, and those of the catalog",
            fix=f"if it is meant, pass allow_hosts=[{shown(parts.hostname)}]",
        )

    def _is_declared(self, parts: SplitResult) -> bool:
        host = _plain_host(parts.hostname or "")
        return any(
            host.endswith(name[1:]) if name.startswith("*.") else host == name
            for name in self.hosts
        )


def declared_hosts(hosts: object) -> tuple[str, ...]:
    """Return names of hosts as a caller gave them, without ports and schemes.

    Raises
    ------
    InvalidInput
        They are no names.
    """
    if hosts is None:
        return ()
    names = [hosts] if isinstance(hosts, str) else sequence("allow_hosts", hosts, "names of hosts",
                                                            "['minio.local']")  # fmt: skip
    return tuple(_declared(text("allow_hosts", name, "minio.local")) for name in names)


def allowed_local(allow: object) -> bool | None:
    """Return whether local files are allowed, None where their origin decides."""
    return None if allow is None else switch("allow_local", allow)


_LONGEST_HOST = 253  # characters, in the domain name system


def _declared(name: str) -> str:
    parts = _split(name if "://" in name else f"//{name}")
    if not parts.hostname or parts.path.strip("/") or len(name) > _LONGEST_HOST:
        raise InvalidInput(
            f"allow_hosts with {shown(name)}", allowed="names of hosts", fix="for example 'a.org'"
        )
    return _plain_host(parts.hostname)


def is_web(link: object) -> bool:
    """Tell whether something is a link that is followed over the network."""
    return isinstance(link, str) and link.lower().startswith(("http://", "https://"))


def _split(link: str) -> SplitResult:
    try:
        parts = urlsplit(link)
        _ = parts.port  # raises for what is none
    except ValueError as error:
        raise InvalidInput(f"a link that is no URL: {shown(link)} ({error})") from error
    return parts


def _plain_host(host: str) -> str:
    """Return a host as it is compared: full-width letters and a last dot mean nothing."""
    return unicodedata.normalize("NFKC", host).lower().rstrip(".")


def _kind_of_name(host: str) -> str:
    """Return what kind of address a host has, as far as its name tells."""
    name = _plain_host(host)
    address = _address(name)
    if address is not None:
        return _kind(address)
    if name == "localhost" or name.endswith(".localhost"):
        return LOOPBACK
    # A name without a dot is looked up in the network's own domain.
    return PRIVATE if "." not in name or name.endswith(_OWN_NAMES) else PUBLIC


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        pass
    # The C library takes 127.1, 0x7f.0.0.1 and 2130706433 for addresses, too.
    if re.fullmatch(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}", name):
        try:
            return ipaddress.IPv4Address(socket.inet_aton(name))
        except OSError:
            return None
    return None


def _kind(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        inner: Any = address.ipv4_mapped or address.sixtofour
        if address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _kind(inner)
    if address.is_loopback or address.is_unspecified:
        return LOOPBACK
    if address.is_link_local:
        return LINK_LOCAL
    return PUBLIC if address.is_global and not address.is_multicast else PRIVATE


def _kinds(parts: SplitResult) -> frozenset[str]:
    """Return the kinds of all addresses of a host; where a proxy looks names up, of its name."""
    host = _plain_host(parts.hostname or "")
    by_name = _kind_of_name(host)
    if by_name != PUBLIC or _address(host) is not None or _by_proxy(parts.scheme, host):
        return frozenset([by_name])
    return _looked_up(host, int(time.monotonic() // _KEEP)) | {by_name}


def _by_proxy(scheme: str, host: str) -> bool:
    return scheme.lower() in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


@functools.lru_cache(maxsize=256)
def _looked_up(host: str, period: int) -> frozenset[str]:  # noqa: ARG001  answers grow old
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return frozenset()  # whoever reads the file will fail, and say so
    addresses = {str(answer[4][0]).partition("%")[0] for answer in found}
    return frozenset(_kind(ipaddress.ip_address(address)) for address in addresses)
