"""Raw values (from TOML, the environment or the command line) into the structs of `model`, keeping every complaint.

Above: `layers`, which knows where a value came from. A problem is collected, not raised, so that `config check` shows
all of them at once.
"""

import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from posthouse.core.money import parse_nano
from posthouse.settings.locate import Path as KeyPath
from posthouse.settings.model import HINTS, AdminKey, Amount, BaseUrl, HookSecret, ModelEntry
from posthouse.settings.problem import Problem, did_you_mean, dotted
from posthouse.settings.secret import Secret, SecretUrl, resolve

ADMIN_KEY_LENGTH: Final = 32
_LONGEST_ADMIN_KEY: Final = 512
_HOOK_SECRET_LENGTH: Final = 16
BAD: Final = object()  # stands where a value could not be read; its problem has been collected

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"}
)
_KIND: Final = re.compile(r"[A-Za-z0-9.:_-]{1,32}(/[A-Za-z0-9.:_-]{1,32})?\Z")
_MOST_KINDS: Final = 64
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PROXY_SCHEMES: Final = ("http", "socks5", "socks5h")


class Reading(Struct, frozen=True):
    """How one layer is read: `text` where values are strings to be parsed, `folder` from which paths are resolved."""

    environ: Mapping[str, str]
    folder: Path
    text: bool
    where: Callable[[KeyPath], str]


class Decoder:
    def __init__(self, reading: Reading, problems: list[Problem]) -> None:
        self._reading = reading
        self._problems = problems
        self._custom: dict[object, Callable[[Any, KeyPath], object]] = {
            BaseUrl: self._base_url,
            Amount: self._amount,
            AdminKey: self._admin_key,
            HookSecret: self._hook_secret,
            Secret: self._secret,
            SecretUrl: self._secret_url,
            Path: self._path,
        }

    def complain(self, path: KeyPath, message: str) -> object:
        self._problems.append(Problem("error", self._reading.where(path), dotted(path), message))
        return BAD

    def struct(self, cls: type[Struct], raw: Any, path: KeyPath) -> Any:
        """An instance of `cls`, or BAD."""
        if not isinstance(raw, dict):
            return self.complain(path, f"expected a table, got {_kind(raw)}")
        fields = {field.name: field for field in msgspec.structs.fields(cls)}
        values: dict[str, Any] = {}
        for key, item in raw.items():
            if key in fields:
                values[key] = self.value(fields[key].type, item, (*path, key))
            else:
                values[key] = self.complain((*path, key), f"unknown key{did_you_mean(key, fields)}")
        for name, field in fields.items():
            if field.required and name not in values:
                values[name] = self.complain(path, f"`{name}` is missing")
        if any(value is BAD for value in values.values()):
            return BAD
        return cls(**values)

    def value(self, kind: Any, raw: Any, path: KeyPath) -> Any:
        """`raw` as `kind` (a field's annotation), or BAD."""
        kind = _without_none(kind)
        if kind in self._custom:
            try:
                return self._custom[kind](raw, path)
            except ValueError as error:
                return self.complain(path, str(error))
        if isinstance(kind, type) and issubclass(kind, Struct):
            raw = self._table_in_text(raw)
            if kind is ModelEntry and isinstance(raw, str):
                raw = {"name": raw}
            return self.struct(kind, raw, path)
        bare = typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
        if typing.get_origin(bare) is tuple:
            return self._tuple(kind, typing.get_args(bare)[0], raw, path)
        return self._table(bare, raw, path) if typing.get_origin(bare) is dict else self._plain(kind, raw, path)

    def _table_in_text(self, raw: Any) -> Any:
        """A variable holds tables as JSON."""
        if not self._reading.text or not isinstance(raw, str):
            return raw
        try:
            return msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            return raw

    def _table(self, kind: Any, raw: Any, path: KeyPath) -> Any:
        key, item = typing.get_args(kind)
        if item is Amount:
            return self._kinds(raw, path)
        return self._headers(raw, path) if item is Secret else self._by_word(key, item, raw, path)

    def _plain(self, kind: Any, raw: Any, path: KeyPath) -> Any:
        if isinstance(raw, float) and not math.isfinite(raw):
            return self.complain(path, "expected a finite number")
        try:
            value = msgspec.convert(raw, kind, strict=not (self._reading.text and isinstance(raw, str)))
        except msgspec.ValidationError as error:
            return self.complain(path, _in_words(error, kind))
        if isinstance(value, float) and not math.isfinite(value):
            return self.complain(path, "expected a finite number")
        return value

    def _tuple(self, kind: Any, item: Any, raw: Any, path: KeyPath) -> Any:
        if isinstance(item, type) and issubclass(item, Struct):
            raw = self._table_in_text(raw)
        elif self._reading.text and isinstance(raw, str):
            raw = [part.strip() for part in raw.split(",") if part.strip()]
        if not isinstance(raw, list | tuple):
            return self.complain(path, f"expected a list, got {_kind(raw)}")
        if not raw and typing.get_origin(kind) is typing.Annotated:
            return self.complain(path, "must not be empty")
        values = tuple(self.value(item, entry, (*path, index)) for index, entry in enumerate(raw))
        return BAD if any(value is BAD for value in values) else values

    def _headers(self, raw: Any, path: KeyPath) -> Any:
        if not isinstance(raw, dict):
            return self.complain(path, f"expected a table, got {_kind(raw)}")
        values: dict[str, Any] = {}
        for name, text in raw.items():
            at = (*path, name)
            if not _HEADER_NAME.match(name):
                values[name] = self.complain(at, "is not a header name")
            elif name.lower() in _OWN_HEADERS:
                values[name] = self.complain(at, "this header belongs to the connection and cannot be set")
            else:
                values[name] = self.value(Secret, text, at)
        return BAD if any(value is BAD for value in values.values()) else values

    def _by_word(self, key: Any, item: Any, raw: Any, path: KeyPath) -> Any:
        """A table whose keys are words of a `Literal`."""
        if not isinstance(raw, dict):
            return self.complain(path, f"expected a table, got {_kind(raw)}")
        known = typing.get_args(key)
        values: dict[str, Any] = {}
        for word, entry in raw.items():
            at = (*path, word)
            if word in known:
                values[word] = self.value(item, entry, at)
            else:
                hint = did_you_mean(word, known) or f"; known are {', '.join(known)}"
                values[word] = self.complain(at, f"unknown key{hint}")
        return BAD if any(value is BAD for value in values.values()) else values

    def _kinds(self, raw: Any, path: KeyPath) -> Any:
        """Amounts by kind of image, such as `1024x1024/high`."""
        if not isinstance(raw, dict):
            return self.complain(path, f"expected a table, got {_kind(raw)}")
        if len(raw) > _MOST_KINDS:
            return self.complain(path, f"has {len(raw)} kinds; it may have {_MOST_KINDS}")
        values: dict[str, Any] = {}
        for name, amount in raw.items():
            at = (*path, name)
            if _KIND.match(name):
                values[name] = self.value(Amount, amount, at)
            else:
                values[name] = self.complain(at, "expected a size, a quality, or both: 1024x1024, high, 1024x1024/high")
        return BAD if any(value is BAD for value in values.values()) else values

    def _resolved(self, raw: Any) -> tuple[str, str]:
        return resolve(_string(raw), self._reading.environ, self._reading.folder)

    def _secret(self, raw: Any, path: KeyPath) -> Secret:
        value, reference = self._resolved(raw)
        if _CONTROL.search(value) or not value.isascii():
            raise ValueError("holds a character that cannot be sent in a header")
        return Secret(value, reference)

    def _admin_key(self, raw: Any, path: KeyPath) -> Secret:
        value, reference = self._resolved(raw)
        if len(value) < ADMIN_KEY_LENGTH:
            raise ValueError(f"the admin key has {len(value)} characters; it needs at least {ADMIN_KEY_LENGTH}")
        if len(value) > _LONGEST_ADMIN_KEY:
            raise ValueError(f"the admin key has {len(value)} characters; it may have {_LONGEST_ADMIN_KEY}")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("the admin key holds a character that cannot be sent in a header")
        return Secret(value, reference)

    def _hook_secret(self, raw: Any, path: KeyPath) -> Secret:
        """Empty is as good as none: whoever has none must not be let in by it."""
        if isinstance(raw, str) and not raw.strip():
            return Secret("")
        value, reference = self._resolved(raw)
        if len(value) < _HOOK_SECRET_LENGTH:
            raise ValueError(f"the secret has {len(value)} characters; it needs at least {_HOOK_SECRET_LENGTH}")
        return Secret(value, reference)

    def _secret_url(self, raw: Any, path: KeyPath) -> SecretUrl:
        value, reference = self._resolved(raw)
        if value.startswith("postgres://"):  # what many hosts hand out; the driver knows the long name only
            value = "postgresql://" + value.removeprefix("postgres://")
        schemes = _schemes_of(path)
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:
            raise ValueError("is not a URL") from None
        scheme = parts.scheme.partition("+")[0]
        if scheme not in schemes or _CONTROL.search(value):
            raise ValueError(f"expected a URL that begins with {' or '.join(f'{name}://' for name in schemes)}")
        if path[-1] == "proxy" and (not parts.hostname or port is None):
            raise ValueError("a proxy needs a host and a port")
        return SecretUrl(value, reference)

    def _base_url(self, raw: Any, path: KeyPath) -> str:
        text = _string(raw).strip()
        try:
            parts = urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("is not a URL") from None
        if parts.scheme not in {"http", "https"} or not host or re.search(r"[^!-~]", text):
            raise ValueError("expected a URL that begins with https:// or http:// and names a host")
        if "@" in parts.netloc:
            raise ValueError("must not hold a user or a password; use `credential`")
        if parts.query or parts.fragment:
            raise ValueError("must not have a query or a fragment")
        return text.rstrip("/")

    def _amount(self, raw: Any, path: KeyPath) -> str:
        if isinstance(raw, int | float | Decimal):
            raise ValueError(f'write amounts in quotes, such as "0.15": got {_kind(raw)}')
        text = _string(raw)
        parse_nano(text)
        return text

    def _path(self, raw: Any, path: KeyPath) -> Path:
        text = _string(raw)
        if not text.strip() or "\x00" in text:
            raise ValueError("is not a path")
        home = self._reading.environ.get("HOME", "")
        if home and (text == "~" or text.startswith("~/")):
            text = home + text[1:]
        return self._reading.folder / text


def _in_words(error: msgspec.ValidationError, kind: Any) -> str:
    """msgspec's complaint, with its patterns and enumerations spelled out."""
    if typing.get_origin(kind) is typing.Literal:
        return f"expected one of {', '.join(typing.get_args(kind))}"
    message = str(error).replace("`", "")
    if "matching regex" in message:
        return f"expected {HINTS[kind]}"
    return f"{message[:1].lower()}{message[1:]}"


def _schemes_of(path: KeyPath) -> tuple[str, ...]:
    match path[-1]:
        case "database_url":
            return ("postgresql", "sqlite")
        case "redis_url":
            return ("redis", "rediss", "unix")
        case _:
            return _PROXY_SCHEMES


def _string(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"expected str, got {_kind(raw)}")
    return raw


def _kind(raw: object) -> str:
    if isinstance(raw, dict):
        return "a table"
    return "a list" if isinstance(raw, list) else type(raw).__name__


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        rest = [part for part in typing.get_args(kind) if part is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return kind
