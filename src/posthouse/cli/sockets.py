"""The sockets of `serve`, bound before anything else is done: a port that is taken is told at once and in words."""

import errno
import os
import socket

from posthouse.core.errors import ConfigError

_WORDS = {
    errno.EADDRINUSE: "is taken by another program; stop it, or choose another one with --port (POSTHOUSE_PORT)",
    errno.EACCES: "needs more rights than this user has; choose one above 1023 and put a proxy in front",
    errno.EADDRNOTAVAIL: "is not on an address of this machine; correct --host (POSTHOUSE_HOST)",
}


def bound(host: str, port: int) -> list[socket.socket]:
    """One socket for each address of `host`, on the same port, not yet listening. ConfigError where one cannot be."""
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            made.append(sock)
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port, *address[2:]))
            port = port or sock.getsockname()[1]
    except OSError as error:
        for sock in made:
            sock.close()
        if isinstance(error, socket.gaierror):
            raise ConfigError(f"server.host: {host!r} is no address: {error.strerror}", param="server.host") from None
        words = _WORDS.get(error.errno or 0, f"cannot be used: {error.strerror}")
        raise ConfigError(f"the port {port} on {host} {words}", param="server.port") from None
    return made
