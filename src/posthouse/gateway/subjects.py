"""Whose limits a request has to pass: its caller's, those of its model, and those of the address that it comes from.

Above: admission. Below: settings, accounts' Caller.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from posthouse.core.caller import Caller, Limits, Subject
from posthouse.core.money import parse_nano
from posthouse.settings import BoundSettings, LimitsSettings

_COUNTS: Final = BoundSettings.__struct_fields__


class HouseLimits(Struct, frozen=True):
    """Limits that are nobody's own: of single models, for all callers together, and of each address."""

    models: Mapping[str, Subject] = {}
    address: Limits | None = None


def house_limits(settings: LimitsSettings) -> HouseLimits:
    models = {}
    for one in settings.models:
        models[one.name] = Subject(f"model:{one.name}", "model", one.name, _counted(one))
    return HouseLimits(models, None if settings.address is None else _counted(settings.address))


def default_limits(settings: LimitsSettings) -> Limits:
    """What a key is limited to that says nothing of its own."""
    counted = {name: getattr(settings, name) for name in _COUNTS}
    if settings.request_spend is None:
        return Limits(**counted)
    return Limits(
        **counted, request_nano=parse_nano(settings.request_spend), request_currency=settings.request_currency
    )


def everybodys_limits(settings: LimitsSettings) -> Sequence[Limits]:
    """Those of the file that hold whatever keys and accounts say: the usual ones of a key, and those of models."""
    return default_limits(settings), *(subject.limits for subject in house_limits(settings).models.values())


def subjects_of(house: HouseLimits, caller: Caller, model: str, address: str) -> Sequence[Subject]:
    """The caller's own where there is nothing else, as nearly always."""
    if not (caller.by_model or house.models or house.address):
        return caller.subjects
    found = list(caller.subjects)
    if caller.by_model:
        found += [subject.models[model] for subject in caller.subjects if model in subject.models]
    if model in house.models:
        found.append(house.models[model])
    if house.address is not None and address:
        network = network_of(address)
        found.append(Subject(f"address:{network}", "address", network, house.address))
    return found


def passable(subjects: Sequence[Subject], rough: int, output: int) -> int:
    """Tokens of output, but no more than these limits could ever let through beside `rough` tokens of input."""
    for subject in subjects:
        limits = subject.limits
        if limits.tpm is not None and rough + output > limits.tpm:
            output = max(0, limits.tpm - rough)
        if limits.tpd is not None and rough + output > limits.tpd:
            output = max(0, limits.tpd - rough)
        if limits.request_tokens is not None and rough + output > limits.request_tokens:
            output = max(0, limits.request_tokens - rough)
    return output


@lru_cache(4096)
def network_of(address: str) -> str:
    """One who has an IPv6 address has 2**64 of them, so they count as one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if found.version == 4:
        return str(found)
    mapped = found.ipv4_mapped
    return str(ipaddress.ip_network((int(found) >> 64 << 64, 64))) if mapped is None else str(mapped)


def _counted(bounds: BoundSettings) -> Limits:
    return Limits(**{name: getattr(bounds, name) for name in _COUNTS})
