"""nginx and HAProxy as processes, with the examples of deploy/: only addresses and certificates are put in.

A program is taken from PATH or /usr/sbin, or from where POSTHOUSE_TEST_NGINX or POSTHOUSE_TEST_HAPROXY says; where
there is none the tests are skipped.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

import pytest

from tests.deploy.known import DEPLOY
from tests.e2e.wire import Wire, eventually

Name = Literal["nginx", "haproxy"]
_UPSTREAM: Final = "127.0.0.1:8700"
_NGINX: Final = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/posthouse.conf;
}}
"""


class Proxy(NamedTuple):
    name: Name
    port: int
    secure: int


class Ports(NamedTuple):
    """Of Posthouse, and where the proxy listens without TLS and with it."""

    house: int
    plain: int
    secure: int


def program(name: Name) -> str:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = os.environ.get(f"POSTHOUSE_TEST_{name.upper()}") or shutil.which(name, path=path)
    if not found:
        pytest.skip(f"{name} is not installed (POSTHOUSE_TEST_{name.upper()} names one elsewhere)")
    return found


def free_ports(house: int) -> Ports:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return Ports(house, one.getsockname()[1], other.getsockname()[1])


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"the example has no {old!r} any more"
        text = text.replace(old, new)
    return text


def written(name: Name, folder: Path, certificates: Path, ports: Ports) -> list[str]:
    """Writes the example for these ports; the command that runs it."""
    upstream = f"127.0.0.1:{ports.house}"
    if name == "nginx":
        changes = {
            _UPSTREAM: upstream,
            "listen 443 ssl;": f"listen 127.0.0.1:{ports.plain}; listen 127.0.0.1:{ports.secure} ssl;",
            "/etc/ssl/posthouse/fullchain.pem": f"{certificates}/server.pem",
            "/etc/ssl/posthouse/privkey.pem": f"{certificates}/server.key",
        }
        example = (DEPLOY / "nginx" / "posthouse.conf").read_text()
        (folder / "posthouse.conf").write_text(replaced(example, changes))
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder))
        return [program(name), "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "start.log")]
    both = folder / "both.pem"
    both.write_text((certificates / "server.pem").read_text() + (certificates / "server.key").read_text())
    bind = f"bind 127.0.0.1:{ports.plain}\n    bind 127.0.0.1:{ports.secure} ssl crt {both}"
    changes = {
        _UPSTREAM: upstream,
        "bind :443 ssl crt /etc/ssl/posthouse/posthouse.pem": bind,
        "127.0.0.0/8": "127.0.0.1",
    }
    example = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    (folder / "haproxy.cfg").write_text(replaced(example, changes))
    return [program(name), "-f", str(folder / "haproxy.cfg")]


def check(name: Name, command: list[str]) -> subprocess.CompletedProcess[str]:
    """What the program itself says of its configuration."""
    asked = [*command, "-t"] if name == "nginx" else [*command, "-c"]
    return subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def standing(name: Name, folder: Path, certificates: Path, house: int) -> Iterator[Proxy]:
    """One in front of the house, once it lets requests through."""
    ports = free_ports(house)
    command = written(name, folder, certificates, ports)
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        eventually(lambda: _ready(process, ports.plain, folder), f"{name} does not come up")
        yield Proxy(name, ports.plain, ports.secure)
    finally:
        process.terminate()
        process.wait(30)


def _ready(process: "subprocess.Popen[bytes]", port: int, folder: Path) -> bool:
    assert process.poll() is None, (folder / "output.log").read_text()
    try:
        with Wire(port) as wire:
            return wire.ask("/readyz", method="GET").status == 200
    except OSError:
        return False
