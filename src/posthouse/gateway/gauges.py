"""What `/metrics` shows of the journal, the circuits and the shared gate: asked when it is scraped."""

import asyncio
from collections.abc import Callable

from posthouse.gateway.replica import Replica
from posthouse.routing.service import Router
from posthouse.storage.journal import Journal
from posthouse.telemetry import Telemetry


def show_gauges(telemetry: Telemetry, router: Router, journal: Journal, replica: Replica | None) -> None:
    """Those of the gate are all zero for a server that stands alone."""

    def circuits() -> list[tuple[str, str, float]]:
        now = asyncio.get_running_loop().time()
        return [(name, operation, float(cools)) for name, operation, cools in router.circuits(now)]

    def shown(value: Callable[[Replica], float]) -> Callable[[], float]:
        return lambda: 0.0 if replica is None else float(value(replica))

    telemetry.circuits(circuits)
    for name, help_text, value in (
        (
            "journal_pending_bytes",
            "Written to the journal, not yet in the database.",
            lambda: journal.stats().pending_bytes,
        ),
        (
            "journal_lag_seconds",
            "Age of the oldest record not yet in the database.",
            lambda: journal.stats().lag_seconds,
        ),
        ("journal_rejected_records", "Records that the database refused.", lambda: journal.stats().rejected),
        ("journal_repeated_ends", "Ends of holds that had ended before.", lambda: journal.stats().repeated),
        ("journal_dropped_records", "Records that found no room; never money.", lambda: journal.stats().dropped),
        ("redis_lost", "1 while Redis is configured and does not answer.", shown(lambda one: not one.up)),
        ("gate_alone_requests", "Admitted without Redis.", shown(lambda one: one.gate.counts.alone)),
        ("gate_closed_requests", "Refused since a budget was closed.", shown(lambda one: one.gate.counts.closed)),
        ("gate_untold_ends", "Ends of requests that Redis has not confirmed.", shown(lambda one: one.gate.untold)),
    ):
        telemetry.gauge(name, help_text, value)
