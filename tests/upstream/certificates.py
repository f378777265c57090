"""A certificate authority of the test's own, made by the `openssl` command."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = a test of the gateway
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1, DNS:localhost
"""


class Authority:
    """`bundle` is its certificate as a PEM file; `server` serves 127.0.0.1 and localhost; `client` trusts only it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "openssl.cnf").write_text(CONFIG)
        self._make("ca", "authority")
        self._make("server", "server", "-CA", "ca.pem", "-CAkey", "ca.key")
        self.bundle = folder / "ca.pem"
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(folder / "server.pem", folder / "server.key")
        self.client = ssl.create_default_context(cafile=self.bundle)

    def _make(self, name: str, extensions: str, *more: str) -> None:
        command = shutil.which("openssl")
        if command is None:
            pytest.skip("the openssl command makes the certificates of this test, and it is not here")
        how = ["-x509", "-config", "openssl.cnf", "-extensions", extensions, "-days", "2"]
        key = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", f"{name}.key"]
        subprocess.run(
            [command, "req", *how, *key, "-out", f"{name}.pem", *more],
            cwd=self._folder,
            check=True,
            capture_output=True,
        )
