"""Where a request comes from: the address of the connection, or what a proxy in front says, if that is trusted.

Every proxy adds the address that it was asked from at the end of `x-forwarded-for`. What a client writes there itself
stands before that, so the list is read from its end, as long as those who wrote are trusted.
"""

import ipaddress
from collections.abc import Sequence

from posthouse.api.exchange import Exchange

_LONGEST = 64  # entries of the header that are looked at


class Peers:
    """`trusted`: addresses and networks of the proxies in front."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._trusted = [ipaddress.ip_network(one, strict=False) for one in trusted]

    def address_of(self, exchange: Exchange) -> str:
        """Empty where the connection has none, as over a socket in the file system."""
        address = exchange.wire.peer
        forwarded = exchange.headers.get(b"x-forwarded-for")
        if not self._trusted or forwarded is None or not self._is_trusted(address):
            return address
        for entry in reversed(forwarded.decode("latin-1").split(",")[-_LONGEST:]):
            found = _plain(entry.strip())
            if found is None:
                return address
            address = found
            if not self._is_trusted(address):
                return address
        return address

    def _is_trusted(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if found.version == 6 and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._trusted)


def _plain(entry: str) -> str | None:
    """An address as proxies write it, without its port; None where it is none."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return str(ipaddress.ip_address(entry))
    except ValueError:
        return None
