"""Providers that well-known variables make by themselves, where the file names none.

The variables' names are data of the providers' rows, which stand above this room: the composition root hands them in.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from posthouse.settings.decode import Decoder, Reading
from posthouse.settings.explain import raise_if_any
from posthouse.settings.model import BaseUrl, ProviderSettings, TimeoutSettings, UpstreamSettings
from posthouse.settings.problem import Problem
from posthouse.settings.secret import Secret


class WellKnown(Struct, frozen=True):
    """A type of provider and the variables that make one: any of `env` holds its credential. Where it can do without
    one (`open`), the variable of its address is enough."""

    type: str
    env: tuple[str, ...]
    base_url_env: str | None = None
    open: bool = False


def credentials_from(
    environ: Mapping[str, str], rows: Sequence[WellKnown], upstream: UpstreamSettings
) -> tuple[ProviderSettings, ...]:
    """A provider for each row of which a variable is set, in the order of the rows; named as its type.

    A variable makes one provider only: of two rows that read the same one, the first has it. ConfigError where a
    variable holds what cannot be a credential or a URL.
    """
    timeout = TimeoutSettings(
        connect=upstream.connect_timeout,
        first_byte=upstream.first_byte_timeout,
        idle=upstream.idle_timeout,
        total=upstream.total_timeout,
    )
    problems: list[Problem] = []
    decoder = Decoder(Reading(environ, Path(), True, lambda _: "environment"), problems)
    taken: set[str] = set()
    providers: list[ProviderSettings] = []
    for row in rows:
        name = next((name for name in row.env if environ.get(name, "").strip() and name not in taken), None)
        base_url = environ.get(row.base_url_env or "", "").strip()
        credential = None
        if name is not None:
            taken.add(name)
            credential = decoder.value(Secret, f"env:{name}", (name,))
        elif not (row.open and base_url):
            continue
        url = decoder.value(BaseUrl, base_url, (row.base_url_env or "",)) if base_url else None
        providers.append(
            ProviderSettings(name=row.type, type=row.type, base_url=url, credential=credential, timeout=timeout)
        )
    raise_if_any(problems)
    return tuple(providers)
