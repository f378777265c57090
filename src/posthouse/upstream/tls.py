"""Whom we trust: the certificate store of the system, or SSL_CERT_FILE / SSL_CERT_DIR where these are set."""

import os
import ssl
import sys
from pathlib import Path
from typing import Final

import truststore

_PLATFORM: Final[str] = sys.platform  # a plain string: mypy takes the other branch for dead code otherwise


def make_context() -> ssl.SSLContext:
    """A client context for every upstream. Reads and parses the store (50 ms on Debian): not for the loop's thread.

    Where OpenSSL finds the system's store itself, it is loaded here and once. truststore is for the systems whose store
    OpenSSL cannot read (macOS, Windows) or does not find. Not for all: on Linux truststore 0.10.5 loads the store again
    for every connection, 45 ms each in the thread of the event loop (measured 2026-11-21).
    """
    context = ssl.create_default_context()
    if not _knows_anybody(context):
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _knows_anybody(context: ssl.SSLContext) -> bool:
    if "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ:
        return True  # the operator's word, even where it is a mistake: never wider than asked
    if _PLATFORM in ("darwin", "win32"):
        return False
    if context.cert_store_stats()["x509_ca"]:
        return True
    directory = Path(ssl.get_default_verify_paths().openssl_capath)
    return any(directory.glob("*.0"))  # read by OpenSSL when they are needed, so not counted above
