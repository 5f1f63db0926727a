"""Where deliveries may go: public addresses over https, and nothing of this network's inside.

A name is looked up for each attempt and the connection goes to the address that was checked, so
that a name that changes its mind between check and use gains nothing.
"""

import ipaddress
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PRIVATE = [
    ipaddress.ip_network(one)
    for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]
_METADATA = ipaddress.ip_network("fd00:ec2::/32")


if TYPE_CHECKING:  # it takes a while to import, and most requests need none of it
    import httpx


class AddressRefused(Exception):
    """A URL that nothing is delivered to; the message says why."""


@dataclass(frozen=True)
class Pinned:
    """What to ask httpx for: the checked address, by the name that the certificate must have."""

    url: "httpx.URL"
    headers: Mapping[str, str]
    extensions: Mapping[str, str]


def pinned(url: str, *, allow_loopback: bool, private_hosts: Collection[str] = ()) -> Pinned:
    """How to reach `url` at an address that was looked up and checked just now.

    The `private_hosts`, in lower case, may have addresses of private networks.

    Raises AddressRefused, or OSError where the name has no address.
    """
    import httpx  # noqa: PLC0415

    parts = checked(url, allow_loopback=allow_loopback, private_hosts=private_hosts)
    named = httpx.URL(url)
    host = named.raw_host.decode()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = resolve(
        host, port, allow_loopback=allow_loopback, allow_private=parts.hostname in private_hosts
    )
    return Pinned(
        url=named.copy_with(host=address),
        headers={"Host": named.netloc.decode()},
        extensions={"sni_hostname": host},
    )


def checked(url: str, *, allow_loopback: bool, private_hosts: Collection[str] = ()) -> SplitResult:
    """The URL's parts, of which scheme, host and port are fit to be delivered to.

    `http` is for a loopback address or `localhost`, where those are allowed.
    """
    import httpx  # noqa: PLC0415

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        httpx.URL(url)
        (host or "").encode("idna")  # no label is too long or empty
    except (ValueError, httpx.InvalidURL):
        raise AddressRefused("it cannot be read as a URL") from None
    if any(not "!" <= character <= "~" for character in url):
        raise AddressRefused("it has characters that must be encoded in a URL")
    if parts.scheme not in ("https", "http") or not host:
        raise AddressRefused("it must begin with https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("it must hold no user name or password")
    if parts.fragment:
        raise AddressRefused("it must have no fragment")
    if port == 0:
        raise AddressRefused("port 0 cannot be connected to")
    literal = _literal(host)
    if parts.scheme == "http" and not (allow_loopback and _names_loopback(host, literal)):
        raise AddressRefused("it must begin with https://")
    if host == "localhost" and not allow_loopback:
        raise AddressRefused("localhost is not a public address")
    if literal is not None:
        require_public(literal, allow_loopback=allow_loopback, allow_private=host in private_hosts)
    return parts


def resolve(host: str, port: int, *, allow_loopback: bool, allow_private: bool = False) -> str:
    """An address of the host to connect to; refused if any of its addresses would be.

    Raises OSError where the name has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise AddressRefused(f"{host:.80} is no host name") from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        require_public(
            ipaddress.ip_address(address),
            allow_loopback=allow_loopback,
            allow_private=allow_private,
        )
    return addresses[0]


def require_public(address: Address, *, allow_loopback: bool, allow_private: bool) -> None:
    """Raise AddressRefused unless the address, and one embedded in it, is on the public net.

    With `allow_private` it may be in a private network too, where no cloud's metadata are.
    """
    for one in (address, *_embedded(address)):
        if one.is_loopback and allow_loopback:
            continue
        if allow_private and one not in _METADATA and any(one in net for net in _PRIVATE):
            continue
        inside = one.version == 6 and one.is_site_local
        reserved = one.is_reserved and one not in _NAT64
        if not one.is_global or one.is_multicast or reserved or inside:
            raise AddressRefused(f"{address} is not a public address")


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _names_loopback(host: str, literal: Address | None) -> bool:
    return literal.is_loopback if literal is not None else host == "localhost"


def _embedded(address: Address) -> list[Address]:
    """IPv4 addresses that a tunnel or a translator would reach through this IPv6 address."""
    if address.version == 4:
        return []
    inside: list[Address | None] = [address.ipv4_mapped, address.sixtofour]
    inside += address.teredo or ()
    if address in _NAT64:
        inside.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in inside if one is not None]
