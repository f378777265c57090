"""How long a scenario runs, and by which seeds."""

import os


def seeds(short: int) -> list[int]:
    """`short` seeds, or as many as POSTHOUSE_CHAOS_ROUNDS says, from POSTHOUSE_CHAOS_SEED on: a round that failed is
    run again by its number."""
    first = int(os.environ.get("POSTHOUSE_CHAOS_SEED", "1"))
    count = int(os.environ.get("POSTHOUSE_CHAOS_ROUNDS", "0")) or short
    return list(range(first, first + count))
