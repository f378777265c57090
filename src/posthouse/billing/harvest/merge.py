"""One seed of many sources.

genai-prices decides what it has a price for. What it has none for is taken from the others, in the order in which
`data/sources.json` names them for a provider. Where two sources price the same thing by more than one per cent apart,
the seed says so beside the price that it has (`differs`), and `Merged.doubts` lists it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from posthouse.billing.harvest.genai import providers_of
from posthouse.billing.harvest.tables import Table, litellm, models_dev
from posthouse.billing.seed import Differs, Seed, SeedFile, SeedHeader, SeedModel, SeedPrice, SeedProvider, find
from posthouse.core.errors import InvalidRequest
from posthouse.core.money import format_nano

FIRST: Final = "genai-prices"
_CONFIG: Final = Path(__file__).parent.parent / "data" / "sources.json"
_TABLES: Final = {"litellm": litellm, "models.dev": models_dev}
_MOST_DOUBTS: Final = 8  # of one model, beside its price
_COMPARED: Final = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "audio_input")
_UNITS: Final = ("image", "audio_second", "character", "search")


class _Source(Struct):
    license: str
    url: str


class Config(Struct):
    """data/sources.json: our provider -> (source, its name there), the most believed first."""

    sources: dict[str, _Source]
    least_audio: str
    providers: dict[str, list[tuple[str, str]]]


class Given(Struct):
    """One source that was read: its own form, not yet ours. `content` is the providers of genai-prices, or a table."""

    source: str
    version: str
    content: Any


class Doubt(Struct, frozen=True):
    """`ours` and `theirs` are nano-units for a million of the class or unit `name`."""

    provider: str
    model: str
    name: str
    source: str
    ours: int
    theirs: int
    other: str

    def __str__(self) -> str:
        percent = 100.0 if not self.ours else abs(self.theirs - self.ours) * 100 / self.ours
        told = f"{self.source} {format_nano(self.ours)}, {self.other} {format_nano(self.theirs)}"
        return f"{self.provider}/{self.model} {self.name}: {told} ({percent:.0f} %)"


class Merged(Struct):
    data: bytes
    doubts: list[Doubt]
    left_out: Mapping[str, int]


def config() -> Config:
    return msgspec.json.decode(_CONFIG.read_bytes(), type=Config)


def merge(given: Sequence[Given], day: str, below: Seed | None = None) -> Merged:
    """A seed of these sources, read on `day` (ISO). What `below` has from other sources stays.

    InvalidRequest where a source is not what it should be.
    """
    settings = config()
    names = {one.source for one in given}
    work = _Work(settings, day, [] if below is None else list(below.sources))
    if below is not None:
        work.keep(below, names)
    for one in given:
        work.header(one)
    tables: dict[str, Table] = {}
    try:
        for one in given:
            if one.source == FIRST:
                work.first(one)
            else:
                tables[one.source] = _TABLES[one.source](one.content)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvalidRequest(f"A source of prices is not what it should be: {error!r}") from error
    for provider, places in settings.providers.items():
        for source, theirs in places:
            if source in tables:
                work.complete(provider, source, tables[source].get(theirs, {}))
    return work.done()


class _Work:
    """The seed while it is made."""

    def __init__(self, settings: Config, day: str, sources: list[SeedHeader]) -> None:
        self._settings = settings
        self._day = day
        self._sources = sources
        self._providers: dict[str, SeedProvider] = {}
        self._left_out: Counter[str] = Counter()
        self._doubts: list[Doubt] = []

    def keep(self, below: Seed, names: set[str]) -> None:
        """What comes from other sources than those that are read anew. Doubts are told anew too."""
        new = {index for index, one in enumerate(below.sources) if one.source in names}
        for name in below.file.providers:
            old = below.provider(name)
            if old is None:
                continue
            made = self._providers[name] = SeedProvider()
            if FIRST not in names:
                made.fallback, made.names, made.rules, made.models = old.fallback, old.names, old.rules, old.models
            made.more = {one: model for one, model in old.more.items() if model.source not in new}
            for model in (*made.models, *made.more.values()):
                model.differs = [one for one in model.differs if one.source not in new]
        if FIRST not in names:
            self._left_out.update(below.file.left_out)

    def header(self, one: Given) -> None:
        told = self._settings.sources[one.source]
        header = SeedHeader(one.source, one.version, self._day, told.license, told.url)
        for index, known in enumerate(self._sources):
            if known.source == one.source:
                self._sources[index] = header
                return
        self._sources.append(header)

    def _index(self, source: str) -> int:
        return next(index for index, one in enumerate(self._sources) if one.source == source)

    def first(self, one: Given) -> None:
        found, left = providers_of(one.content, self._settings.least_audio)
        self._left_out.update(left)
        source = self._index(one.source)
        for name, made in found.items():
            for model in made.models:
                model.source = source
            kept = self._providers.get(name)
            made.more = {} if kept is None else kept.more
            self._providers[name] = made

    def complete(self, provider: str, source: str, models: Mapping[str, SeedModel]) -> None:
        made = self._providers.setdefault(provider, SeedProvider())
        index = self._index(source)
        around = [made, *(self._providers[one] for one in made.fallback if one in self._providers)]
        for name, model in sorted(models.items()):
            known = find(around, name)
            if known is None or not known.prices:
                made.more[name] = msgspec.structs.replace(model, source=index)
            elif known.source != index:
                self._compare(provider, name, known, model, index)

    def _compare(self, provider: str, name: str, known: SeedModel, other: SeedModel, index: int) -> None:
        ours, theirs = _on(known, self._day), _on(other, self._day)
        for what in (*_COMPARED, *_UNITS):
            mine, yours = _rate(ours, what), _rate(theirs, what)
            if mine is None or yours is None or abs(yours - mine) * 100 <= mine:
                continue
            source = self._sources[known.source].source
            self._doubts.append(Doubt(provider, name, what, source, mine, yours, self._sources[index].source))
            told = Differs(index, what, mine, yours)
            if told not in known.differs and len(known.differs) < _MOST_DOUBTS:
                known.differs = [*known.differs, told]

    def done(self) -> Merged:
        providers = {name: made for name, made in sorted(self._providers.items()) if made.models or made.more}
        for made in providers.values():
            made.more = dict(sorted(made.more.items()))
        file = SeedFile(
            sources=self._sources,
            currency="USD",
            providers={name: Raw(msgspec.json.encode(made)) for name, made in providers.items()},
            left_out=dict(sorted(self._left_out.items())),
        )
        return Merged(in_lines(file), self._doubts, file.left_out)


def in_lines(file: SeedFile) -> bytes:
    """One provider a line, so that a change of prices can be read in a diff."""
    encode = msgspec.json.encode
    head = encode({"sources": file.sources, "currency": file.currency, "left_out": file.left_out})[:-1]
    lines = [encode(name) + b":" + bytes(value) for name, value in file.providers.items()]
    return head + b',"providers":{\n' + b",\n".join(lines) + b"\n}}\n"


def _on(model: SeedModel, day: str) -> SeedPrice:
    """The row to compare: the newest standard one of the day that does not depend on the hour."""
    rows = [row for row in model.prices if row.tier is None]
    usual = (row for row in reversed(rows) if row.from_ is None and not row.days and (row.start or "") <= day)
    return next(usual, rows[0])


def _rate(row: SeedPrice, name: str) -> int | None:
    if name in _UNITS:
        found = getattr(row.units, name, 0)
        return found or None
    return row.rates.get(name)
