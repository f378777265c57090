"""Secrets: values that no repr, log line or `config explain` may show.

Above: every setting that holds a credential. Below: nothing. A secret is written in a file as itself, as `env:NAME` or
as `file:PATH`; the reference is safe to show and is all that is ever shown.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

MASK: Final = "***"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MAX_SECRET_FILE: Final = 65_536
_SECRET_PARAMETERS: Final = frozenset({"password", "sslpassword", "passphrase", "token"})


class Secret:
    """A secret and how it was written. `reference` is `env:NAME`, `file:PATH` or empty for a literal."""

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str = "") -> None:
        self._value = value
        self.reference = reference

    def reveal(self) -> str:
        """The secret itself; call it where it is used and nowhere else."""
        return self._value

    @property
    def masked(self) -> str:
        return self.reference or MASK

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.masked})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


class SecretUrl(Secret):
    """A URL that may carry a password. All of it but the password may be shown."""

    __slots__ = ()

    @property
    def masked(self) -> str:
        return self.reference or mask_url(self._value)


def mask_url(url: str) -> str:
    """`url` without its password and without query parameters that are known to hold one."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return MASK
    # An `@` behind the host means that a password with an unescaped `/`, `?` or `#` was cut in two.
    if not parts.scheme or "@" in parts.path + parts.query + parts.fragment:
        return MASK
    netloc = parts.netloc
    if "@" in netloc:
        user, _, host = netloc.rpartition("@")
        name, colon, _ = user.partition(":")
        # A database's user is worth seeing; what stands alone before a proxy's host may well be a token.
        shown = name if colon or parts.scheme.startswith("postgresql") else MASK
        netloc = f"{shown}{colon}{MASK if colon else ''}@{host}"
    query = urlencode([(key, MASK if key.lower() in _SECRET_PARAMETERS else value) for key, value in pairs], safe="*/")
    return urlunsplit(SplitResult(parts.scheme, netloc, parts.path, query, ""))


def resolve(text: str, environ: Mapping[str, str], folder: Path) -> tuple[str, str]:
    """`(value, reference)` of a secret as written. ValueError where the reference leads nowhere; it shows no value.

    Space around the value is dropped: a newline at the end of a file or of a pasted variable is never part of a key,
    and inside a header it would split the request.
    """
    if text.startswith("env:"):
        name = text[4:]
        if not _VARIABLE.match(name):  # not shown: somebody may have put the secret itself here
            raise ValueError("expected the name of an environment variable after env:")
        value = environ.get(name, "").strip()
        if not value:
            raise ValueError(f"the environment variable {name} is not set")
        return value, text
    if text.startswith("file:"):
        path = folder / text[5:]
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_SECRET_FILE + 1)
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from None
        if len(data) > _MAX_SECRET_FILE:
            raise ValueError(f"{path} is larger than a secret can be")
        try:
            value = data.decode().strip()
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text") from None
        if not value:
            raise ValueError(f"{path} is empty")
        return value, text
    if not text.strip():
        raise ValueError("is empty; leave it out instead")
    return text.strip(), ""
