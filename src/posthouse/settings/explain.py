"""The settings together with where each came from: what `config check` and `config explain` print."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from posthouse.core.errors import ConfigError
from posthouse.settings.check import problems_of
from posthouse.settings.layers import TABLES, Candidates, File
from posthouse.settings.locate import Path as KeyPath
from posthouse.settings.model import ProviderSettings, Settings
from posthouse.settings.problem import Problem, Source, did_you_mean, dotted, path_of
from posthouse.settings.secret import Secret

_DEFAULT: Final = Source("default")
_WORDS: Final = {None: "(not set)", True: "true", False: "false"}
_ITEM: Final = 2  # the length of a path such as ("providers", 0)


class Explanation(Struct, frozen=True):
    """A key, its value as it may be shown, its source, and what lower layers said that it hides."""

    key: str
    value: str
    source: Source
    hidden: tuple[tuple[str, Source], ...] = ()


class Loaded(Struct, frozen=True):
    """The settings and where they came from. `file` None: no configuration file was found. `again` reads all layers
    anew, as they were asked for, with the variables that it is given (ConfigError as `load`)."""

    settings: Settings
    file: File | None
    candidates: Candidates
    again: "Callable[[Mapping[str, str]], Loaded]"

    def check(self, known_types: Collection[str] | None = None) -> list[Problem]:
        """What is wrong although each value alone could be read. `known_types`: the types of providers there are."""
        return problems_of(self.settings, self.where, known_types)

    def ensure(self, known_types: Collection[str] | None = None) -> None:
        """ConfigError if `check` finds an error; warnings pass."""
        raise_if_any([problem for problem in self.check(known_types) if problem.level == "error"])

    def with_providers(self, providers: Sequence[ProviderSettings]) -> "Loaded":
        """The same with providers that the environment made."""
        settings = msgspec.structs.replace(self.settings, providers=tuple(providers))
        return msgspec.structs.replace(self, settings=settings)

    def located(self, error: ConfigError) -> ConfigError:
        """The same error with the place of the key in its `param` (`providers[0].credential`) before it."""
        path = path_of(error.param or "")
        if not path or path[0] not in TABLES:
            return error
        return ConfigError(str(Problem("error", self.where(path), dotted(path), error.message)), param=error.param)

    def explain(self, key: str = "") -> list[Explanation]:
        """`server.port`, `server`, `providers.main.timeout`, `providers[0]`, or everything. ConfigError if unknown."""
        everything = list(self._explanations())
        wanted = self._canonical(key)
        found = [item for item in everything if not wanted or _is_under(item.key, wanted)]
        if not found and wanted not in TABLES:
            hint = did_you_mean(key, [item.key for item in everything])
            raise ConfigError(f"{key}: there is no such setting{hint}", param=key)
        return found

    def _explanations(self) -> Iterator[Explanation]:
        for path, given in self.candidates.items():
            hidden = tuple((show(item.value), item.source) for item in given[1:] if item.source != _DEFAULT)
            yield Explanation(dotted(path), show(given[0].value), given[0].source, hidden)
        for table in TABLES:
            for index, item in enumerate(getattr(self.settings, table)):
                for path, value in _leaves(item, (table, index)):
                    yield Explanation(dotted(path), show(value), self._source(path))

    def _source(self, path: KeyPath) -> Source:
        """Where a leaf of `[[providers]]`, `[[routes]]` or `[[prices]]` came from."""
        if self.file is None or path[:_ITEM] not in self.file.lines:
            credential = self.settings.providers[int(path[1])].credential
            return Source("environment", credential.reference.removeprefix("env:") if credential else "")
        if "timeout" in path[_ITEM:] and path not in self.file.lines:
            return self.candidates[("upstream", f"{path[-1]}_timeout")][0].source
        if any(path[:length] in self.file.lines for length in range(_ITEM + 1, len(path) + 1)):
            return Source("file", self.file.where(path))
        return _DEFAULT

    def where(self, path: KeyPath) -> str:
        """The place of a key: `FILE:LINE`, a variable, a flag."""
        if path[0] not in TABLES:
            return self.candidates[path][0].source.where or "default"
        if self.file is None or path[:_ITEM] not in self.file.lines:
            return "environment"
        return self.file.where(path)

    def _canonical(self, key: str) -> str:
        """`providers.main.weight` -> `providers[0].weight`"""
        table, _, rest = key.partition(".")
        if table not in TABLES:
            return key
        for index, item in enumerate(getattr(self.settings, table)):
            name: str = getattr(item, "name", "") or getattr(item, "model", "")
            if rest == name or rest.startswith(f"{name}."):
                return f"{table}[{index}]{rest.removeprefix(name)}"
        return key


def show(value: object) -> str:
    """A value as it may be shown: secrets masked, `(not set)` for None."""
    match value:
        case Secret():
            return value.masked
        case None | True | False:
            return _WORDS[value]
        case tuple():
            return "[" + ", ".join(show(item) for item in value) + "]"
        case Struct():
            given = {name: getattr(value, name) for name in value.__struct_fields__}
            return "{" + ", ".join(f"{name} = {show(item)}" for name, item in given.items() if item is not None) + "}"
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def raise_if_any(problems: Sequence[Problem]) -> None:
    """ConfigError with a line for each problem."""
    if problems:
        raise ConfigError("\n".join(str(problem) for problem in problems), param=problems[0].key)


def _is_under(key: str, wanted: str) -> bool:
    return key == wanted or key.startswith((f"{wanted}.", f"{wanted}["))


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, Struct):
        for name in value.__struct_fields__:
            yield from _leaves(getattr(value, name), (*path, name))
    elif isinstance(value, tuple) and value and isinstance(value[0], Struct):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    elif isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    else:
        yield path, value
