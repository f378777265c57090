"""Which types of provider there are: the built-in rows, and those that other packages bring.

A package adds rows through the entry-point group `posthouse.providers`: each entry point names a `Provider`, or a list
or tuple of them. A plugin that cannot be loaded, or whose name is taken, is reported in `Registry.problems` and left
out; the house opens without it.
"""

import difflib
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Final, Protocol

from msgspec import Struct

from posthouse.core.errors import ConfigError
from posthouse.providers import (
    anthropic,
    azure,
    cerebras,
    deepseek,
    doubao,
    echo,
    fireworks,
    gemini,
    groq,
    llamacpp,
    lmstudio,
    minimax,
    mistral,
    modelscope,
    moonshot,
    nvidia,
    ollama,
    openai,
    openai_compatible,
    openrouter,
    qianfan,
    qwen,
    sglang,
    siliconflow,
    stepfun,
    tencent,
    together,
    vllm,
    xai,
    zhipu,
)
from posthouse.providers.model import Provider

GROUP: Final = "posthouse.providers"

BUILTIN: Final[tuple[Provider, ...]] = (
    openai.ROW,
    anthropic.ROW,
    gemini.ROW,
    azure.ROW,
    deepseek.ROW,
    qwen.ROW,
    zhipu.ROW,
    moonshot.ROW,
    doubao.ROW,
    minimax.ROW,
    qianfan.ROW,
    siliconflow.ROW,
    tencent.ROW,
    stepfun.ROW,
    modelscope.ROW,
    openrouter.ROW,
    groq.ROW,
    together.ROW,
    fireworks.ROW,
    cerebras.ROW,
    xai.ROW,
    mistral.ROW,
    nvidia.ROW,
    ollama.ROW,
    vllm.ROW,
    sglang.ROW,
    lmstudio.ROW,
    llamacpp.ROW,
    openai_compatible.ROW,
    echo.ROW,
)


class EntryPoint(Protocol):
    """The part of `importlib.metadata.EntryPoint` that is used here."""

    @property
    def name(self) -> str: ...

    @property
    def value(self) -> str: ...

    def load(self) -> object: ...


class Registry(Struct, frozen=True):
    """`rows` in the order in which they are listed; `problems` are sentences about plugins that were left out."""

    rows: tuple[Provider, ...]
    by_name: Mapping[str, Provider]
    problems: tuple[str, ...] = ()

    def get(self, type_: str) -> Provider:
        """The row of a type or of one of its aliases. Raises ConfigError that names near misses."""
        found = self.by_name.get(type_)
        if found is not None:
            return found
        near = difflib.get_close_matches(type_, self.by_name, n=3)
        hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        raise ConfigError(
            f"There is no provider type {type_!r}.{hint} Known: {', '.join(row.name for row in self.rows)}."
        )


def load(entry_points: Iterable[EntryPoint] | None = None) -> Registry:
    """The built-in rows and those of the installed plugins; `entry_points` replaces what is installed (tests)."""
    rows = list(BUILTIN)
    taken = {name: row for row in rows for name in (row.name, *row.aliases)}
    problems: list[str] = []
    for point in metadata.entry_points(group=GROUP) if entry_points is None else entry_points:
        try:
            brought = _rows_of(point)
        except Exception as error:  # the top of foreign code: whatever it raises at import, the house opens
            problems.append(f"Provider plugin {point.name!r} ({point.value}) cannot be loaded: {error!r}.")
            continue
        for row in brought:
            clash = [name for name in (row.name, *row.aliases) if name in taken]
            if clash:
                problems.append(f"Provider plugin {point.name!r} ({point.value}): the type {clash[0]!r} is taken.")
                continue
            rows.append(row)
            taken |= dict.fromkeys((row.name, *row.aliases), row)
    return Registry(tuple(rows), taken, tuple(problems))


def _rows_of(point: EntryPoint) -> list[Provider]:
    found = point.load()
    rows = list(found) if isinstance(found, list | tuple) else [found]
    if not rows or not all(isinstance(row, Provider) for row in rows):
        raise TypeError("it names no posthouse.providers.model.Provider")
    return [row for row in rows if isinstance(row, Provider)]
