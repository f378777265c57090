"""Posthouse with PostgreSQL and Redis against Posthouse as it comes; round by round, since rounds are comparable."""

import statistics
from collections.abc import Sequence
from typing import Protocol

from bench.gateways import Gateway, Shared
from bench.report import Row
from bench.scenarios import Latency, Sample

CPU_TARGET = 1.6
"""Times the CPU of the same request on SQLite in one process."""
LATENCY_TARGET = 1.0
"""Milliseconds more, p50, one at a time."""
TITLES = {"chat": "chat, 1 KB", "burst": "stream of 64 chunks"}


class Measured(Protocol):
    """What run.py found out about a gateway."""

    gateway: Gateway
    cpu: dict[str, list[Sample]]
    latency: Latency


def shared_rows(own: Measured, others: Sequence[Measured]) -> list[Row]:
    """Empty where it was not measured."""
    rows = []
    for found in others:
        if found.gateway.name != Shared.name:
            continue
        for key, title in TITLES.items():
            pairs = list(zip(found.cpu.get(key, []), own.cpu.get(key, []), strict=True))
            if pairs:
                ratios = [shared.gateway / alone.gateway for shared, alone in pairs]
                middle = statistics.median(ratios)
                shown = f"{min(ratios):.2f} to {max(ratios):.2f}"
                what = f"{title}: with PostgreSQL and Redis, times the CPU"
                rows.append(Row(what, f"<= {CPU_TARGET:.1f}", f"{middle:.2f}", shown, middle <= CPU_TARGET))
        if found.latency.p50:
            more = [shared - alone for shared, alone in zip(found.latency.p50, own.latency.p50, strict=True)]
            middle, shown = statistics.median(more), f"{min(more):.2f} to {max(more):.2f}"
            what = "latency that PostgreSQL and Redis add, p50"
            rows.append(Row(what, f"<= {LATENCY_TARGET:.0f} ms", f"{middle:.2f} ms", shown, middle <= LATENCY_TARGET))
    return rows
