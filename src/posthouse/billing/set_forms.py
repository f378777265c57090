"""Prices that were set, and changes of the seed, as JSON: what the admin API answers and `--json` prints."""

from collections.abc import Sequence
from typing import Any

from posthouse.billing.desk import SetPrice
from posthouse.billing.forms import iso
from posthouse.billing.harvest.compare import Change
from posthouse.billing.harvest.merge import Doubt, Merged
from posthouse.core.money import format_nano


def set_price_to_json(row: SetPrice) -> dict[str, Any]:
    return {"id": row.id, "created_at": iso(row.created_at), **row.body}


def update_to_json(found: Sequence[Change], merged: Merged, *, applied: bool) -> dict[str, Any]:
    """`changes` as they are, each line (what, before, after); `doubts` where the sources that were read differ by more
    than one per cent from what holds."""
    return {
        "applied": applied,
        "changes": [
            {
                "kind": one.kind,
                "provider": one.provider,
                "model": one.model,
                "lines": [list(line) for line in one.lines],
            }
            for one in found
        ],
        "doubts": [doubt_to_json(one) for one in merged.doubts],
    }


def doubt_to_json(one: Doubt) -> dict[str, Any]:
    return {
        "provider": one.provider,
        "model": one.model,
        "of": one.name,
        one.source: format_nano(one.ours),
        one.other: format_nano(one.theirs),
    }
