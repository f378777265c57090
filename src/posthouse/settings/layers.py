"""The four layers and their order: command line > environment > file > defaults.

Above: `load`. Below: `decode`, which reads one value. Every value that a layer gives is checked, also where a higher
layer hides it: a mistake in the file should not wait for the day when the variable is gone.
"""

import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from posthouse.core.errors import ConfigError
from posthouse.settings.decode import BAD, Decoder, Reading
from posthouse.settings.locate import Path as KeyPath
from posthouse.settings.locate import locate
from posthouse.settings.model import Section, Settings
from posthouse.settings.problem import Problem, Source, did_you_mean

PREFIX: Final = "POSTHOUSE_"
TEST_PREFIX: Final = "POSTHOUSE_TEST_"
# Names that are shorter than the rule `<SECTION>_<KEY>` would make them; also the names of flags.
SHORT: Final[Mapping[str, KeyPath]] = {
    "host": ("server", "host"),
    "port": ("server", "port"),
    "data": ("storage", "data"),
    "database_url": ("storage", "database_url"),
    "redis_url": ("storage", "redis_url"),
}
_FIELDS: Final = {field.name: field.type for field in msgspec.structs.fields(Settings)}
SECTIONS: Final[Mapping[str, type[Section]]] = {
    name: kind for name, kind in _FIELDS.items() if isinstance(kind, type) and issubclass(kind, Section)
}
# Tables of which there may be many; only the file can hold them.
TABLES: Final[Mapping[str, type[Section]]] = {
    name: typing.get_args(kind)[0] for name, kind in _FIELDS.items() if name not in SECTIONS
}
_TIMEOUTS: Final = ("connect", "first_byte", "idle", "total")


class Candidate(Struct, frozen=True):
    """A value that one layer gives to a key."""

    value: Any
    source: Source


Candidates = dict[KeyPath, list[Candidate]]  # the highest layer first


class File(Struct, frozen=True):
    """A configuration file; `lines` tells where each key stands. Its content is not kept: it may hold secrets."""

    path: Path
    lines: dict[KeyPath, int]

    def where(self, path: KeyPath) -> str:
        """`FILE:LINE` of the key, or of the nearest table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.path}:{self.lines[path[:length]]}"
        return str(self.path)


def variable_of(path: KeyPath) -> str:
    """The environment variable of a key: `POSTHOUSE_PORT`, `POSTHOUSE_LOG_LEVEL`."""
    for name, short in SHORT.items():
        if short == path:
            return PREFIX + name.upper()
    return PREFIX + "_".join(str(part) for part in path).upper()


def keys_of_sections() -> Iterator[KeyPath]:
    for section, kind in SECTIONS.items():
        for field in msgspec.structs.fields(kind):
            yield (section, field.name)


def read_file(path: Path) -> tuple[File, dict[str, Any]]:
    """The file and its content. ConfigError where it cannot be read or is not TOML."""
    try:
        # A byte order mark is what some editors put there; TOML itself knows none.
        text = path.read_bytes().decode("utf-8-sig")
        raw = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    return File(path, locate(text.replace("\r\n", "\n"))), raw


class Collector:
    """Gathers the candidates of every key, layer by layer, the highest first."""

    def __init__(self, environ: Mapping[str, str], cwd: Path, problems: list[Problem]) -> None:
        self._environ = environ
        self._cwd = cwd
        self._problems = problems
        self.candidates: Candidates = {path: [] for path in keys_of_sections()}

    def from_command_line(self, options: Mapping[str, object]) -> None:
        """`{"port": "9000"}` or `{"server.port": 9000}`; None is an option that was not given."""
        names = {**SHORT, **{".".join(map(str, path)): path for path in keys_of_sections()}}
        for name, value in options.items():
            flag = f"--{name}"
            if value is None or name == "config":
                continue
            if name not in names:
                self._unknown(flag, name, f"unknown setting{did_you_mean(name, names)}")
                continue
            self._add(names[name], str(value) if isinstance(value, Path) else value, Source("command line", flag))

    def from_environment(self) -> None:
        names = {variable_of(path): path for path in keys_of_sections()}
        long_names = {PREFIX + "_".join(map(str, path)).upper(): path for path in keys_of_sections()}
        seen: dict[KeyPath, str] = {}
        for name, value in sorted(self._environ.items()):
            if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX) or name == f"{PREFIX}CONFIG" or not value:
                continue
            path = names.get(name) or long_names.get(name)
            if path is None:
                self._unknown("environment", name, f"unknown variable{did_you_mean(name, [*names, f'{PREFIX}CONFIG'])}")
            elif path in seen and self._environ[seen[path]] != value:
                self._unknown("environment", name, f"{seen[path]} sets the same thing to another value; keep one")
            elif path not in seen:
                seen[path] = name
                self._add(path, value, Source("environment", name))

    def from_file(self, file: File, content: Mapping[str, Any]) -> None:
        """The sections; the repeated tables are read by `tables`."""
        decoder = Decoder(Reading(self._environ, file.path.parent, False, file.where), self._problems)
        for section, raw in content.items():
            if section in TABLES:
                continue
            if section not in SECTIONS:
                decoder.complain((section,), f"unknown key{_home_of(section) or did_you_mean(section, _FIELDS)}")
            elif not isinstance(raw, dict):
                decoder.complain((section,), f"expected a table: write [{section}]")
            else:
                for key, value in raw.items():
                    self._file_key(decoder, file, (section, key), value)

    def _file_key(self, decoder: Decoder, file: File, path: KeyPath, raw: Any) -> None:
        section, key = str(path[0]), str(path[1])
        fields = {field.name: field for field in msgspec.structs.fields(SECTIONS[section])}
        if key not in fields:
            decoder.complain(path, f"unknown key{_home_of(key) or did_you_mean(key, fields)}")
            return
        value = decoder.value(fields[key].type, raw, path)
        if value is not BAD:
            self.candidates[path].append(Candidate(value, Source("file", file.where(path))))

    def defaults(self, data: Path) -> None:
        for section, kind in SECTIONS.items():
            for field in msgspec.structs.fields(kind):
                path = (section, field.name)
                value = data if path == ("storage", "data") else field.default
                self.candidates[path].append(Candidate(value, Source("default")))

    def section(self, name: str) -> Any:
        """The struct of a section from the highest candidates. Call it after `defaults`."""
        kind = SECTIONS[name]
        return kind(**{f.name: self.candidates[(name, f.name)][0].value for f in msgspec.structs.fields(kind)})

    def tables(self, file: File, name: str, raw: Any) -> tuple[Any, ...]:
        """The structs of `[[name]]`. Call it after `defaults`."""
        decoder = Decoder(Reading(self._environ, file.path.parent, False, file.where), self._problems)
        if not isinstance(raw, list):
            decoder.complain((name,), f"expected a list of tables: write [[{name}]]")
            return ()
        items = []
        for index, entry in enumerate(raw):
            complete = self._with_timeouts(entry) if name == "providers" else entry
            items.append(decoder.struct(TABLES[name], complete, (name, index)))
        return tuple(item for item in items if item is not BAD)

    def _with_timeouts(self, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("timeout", {}), dict):
            return raw
        inherited = {key: self.candidates[("upstream", f"{key}_timeout")][0].value for key in _TIMEOUTS}
        return {**raw, "timeout": {**inherited, **raw.get("timeout", {})}}

    def _add(self, path: KeyPath, raw: object, source: Source) -> None:
        fields = {field.name: field for field in msgspec.structs.fields(SECTIONS[str(path[0])])}
        decoder = Decoder(Reading(self._environ, self._cwd, True, lambda _: source.where), self._problems)
        value = decoder.value(fields[str(path[1])].type, raw, path)
        if value is not BAD:
            self.candidates[path].append(Candidate(value, source))

    def _unknown(self, where: str, key: str, message: str) -> None:
        self._problems.append(Problem("error", where, key, message))


def _home_of(key: str) -> str:
    """Where a key stands that was written in the wrong place."""
    homes = [f"[{section}]" for section, name in keys_of_sections() if name == key]
    return f" (it belongs in {' or '.join(homes)})" if homes else ""
