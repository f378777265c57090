"""`ledger verify`: does the money add up? Read-only, set by set, in one snapshot; 1,000,000 requests take some seconds.

Each check is one query for the ids of everything that breaks a rule of docs/billing.md, cut off at MAX_PROBLEMS. Lines
of the journal that are not applied yet are not seen; since they come with whole transactions, what is in the database
adds up at any moment.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from sqlalchemy import Connection, func, or_, select

from posthouse.billing.checks import Check
from posthouse.billing.folds import spend_differences, usage_differences
from posthouse.billing.model import Problem, Verification
from posthouse.billing.verify_credits import credit_checks
from posthouse.core.usage import COUNTS
from posthouse.storage.database import Database
from posthouse.storage.tables import corrections, credits, entries, holds, requests

MAX_PROBLEMS: Final = 100
# Longer than any request with the default deadlines may take: a hold that is open longer has been forgotten.
MAX_HOLD_SECONDS: Final = 3600.0

_debit: Final = entries.alias("debit")
_CORRECTION: Final = (corrections, corrections.c.id == _debit.c.hold_id)
_CREDIT: Final = (credits, credits.c.id == _debit.c.hold_id)
_OF_NO_CALL: Final = corrections.c.id.is_(None) & credits.c.id.is_(None)
_TO_DEBIT: Final = (_debit.c.hold_id == holds.c.id) & (_debit.c.leg == 0)
# Tokens by class, and what is no token: every number of a record that a cost is made of.
_COUNTS: Final = tuple(requests.c[name] for name in COUNTS)


def verify(database: Database, now: float, max_hold_seconds: float = MAX_HOLD_SECONDS) -> Verification:
    """Checks everything. `now` in seconds since the epoch. Call it in a thread; Unavailable where nothing answers."""
    problems: list[Problem] = []
    oldest = int((now - max_hold_seconds) * 1000)
    with database.snapshot() as connection:
        for check in (
            *_sums(),
            *_ends(oldest),
            *_records(),
            _corrected(),
            *credit_checks(),
        ):
            rows = connection.execute(check.query.limit(MAX_PROBLEMS + 1))
            problems += [Problem(check.rule, str(row[0]), check.detail.format(*row)) for row in rows]
        problems += islice(_fold_problems(connection), MAX_PROBLEMS + 1)
        opened = connection.execute(select(func.count()).select_from(holds).where(holds.c.state == "held"))
        unrecorded = connection.execute(
            select(func.count())
            .select_from(
                _debit.outerjoin(requests, requests.c.id == _debit.c.hold_id)
                .outerjoin(*_CORRECTION)
                .outerjoin(*_CREDIT)
            )
            .where(_debit.c.leg == 0, requests.c.id.is_(None), _OF_NO_CALL)
        )
        return Verification(
            ok=not problems,
            holds_open=opened.scalar_one(),
            problems=tuple(problems[:MAX_PROBLEMS]),
            truncated=len(problems) > MAX_PROBLEMS,
            holds_unrecorded=unrecorded.scalar_one(),
        )


def _sums() -> tuple[Check, ...]:
    """LEDGER-1: every transfer is two entries of one currency that cancel out, so a whole currency does too."""
    total = func.sum(entries.c.amount)
    legs = func.count()
    return (
        Check(
            "LEDGER-1",
            "the entries in {0} add up to {1} nano-units, not to zero",
            select(entries.c.currency, total).group_by(entries.c.currency).having(total != 0),
        ),
        Check(
            "LEDGER-1",
            "{1} entries that add up to {2} nano-units; two were expected, of one currency, and zero",
            select(entries.c.hold_id, legs, total)
            .group_by(entries.c.hold_id)
            .having(or_(legs != 2, total != 0, func.min(entries.c.currency) != func.max(entries.c.currency))),
        ),
    )


def _ends(oldest_ms: int) -> tuple[Check, ...]:
    """LEDGER-2: a hold is open, or has ended once and completely; its charge is its entries' amount. HOLD-7: soon."""
    ended = holds.c.state != "held"
    incomplete = or_(
        ended & (holds.c.ended_at.is_(None) | holds.c.charged.is_(None)),
        ~ended & (holds.c.ended_at.is_not(None) | holds.c.charged.is_not(None)),
        holds.c.state.in_(("released", "expired")) & (holds.c.charged != 0),
        holds.c.charged < 0,
    )
    charged, debited = func.coalesce(holds.c.charged, 0), func.coalesce(_debit.c.amount, 0)
    stray = holds.c.id.is_(None) | (_debit.c.ledger_account != "account:" + holds.c.account_id)
    return (
        Check(
            "LEDGER-2",
            "the hold is {1}, with {2} nano-units charged and ended at {3}",
            select(holds.c.id, holds.c.state, holds.c.charged, holds.c.ended_at).where(incomplete),
        ),
        Check(
            "LEDGER-2",
            "{1} nano-units charged, but the account's entry says {2}",
            select(holds.c.id, charged, debited)
            .select_from(holds.outerjoin(_debit, _TO_DEBIT))
            .where(charged != debited),
        ),
        Check(
            "LEDGER-2",
            "an entry of {1} for a hold that does not exist, or is another account's",
            select(_debit.c.hold_id, _debit.c.ledger_account)
            .select_from(
                _debit.outerjoin(holds, holds.c.id == _debit.c.hold_id).outerjoin(*_CORRECTION).outerjoin(*_CREDIT)
            )
            .where(_debit.c.leg == 0, stray, _OF_NO_CALL),
        ),
        Check(
            "HOLD-7",
            "held since {1} ms since the epoch: longer than any request may take",
            select(holds.c.id, holds.c.created_at).where(~ended, holds.c.created_at < oldest_ms),
        ),
    )


def _records() -> tuple[Check, ...]:
    """LEDGER-3: the record of a request says what its entries and its hold say. LEDGER-7: its counts can be."""
    cost, debited = func.coalesce(requests.c.cost, 0), func.coalesce(_debit.c.amount, 0)
    source, entered = func.coalesce(requests.c.usage_source, ""), func.coalesce(_debit.c.usage_source, "")
    charged = _debit.c.amount.is_not(None)
    differs = or_(
        cost != debited,
        charged & (func.coalesce(requests.c.currency, "") != _debit.c.currency),
        charged & (source != entered),
    )
    other_end = requests.c.hold_state.is_not(None) & (func.coalesce(holds.c.state, "") != requests.c.hold_state)
    uncounted = requests.c.usage_source.is_(None) & or_(*(count != 0 for count in _COUNTS))
    to_debit = (_debit.c.hold_id == requests.c.id) & (_debit.c.leg == 0)
    return (
        Check(
            "LEDGER-3",
            "the record says {1} nano-units {2} by {3}, the entries {4} {5} by {6}",
            select(
                requests.c.id,
                cost,
                requests.c.currency,
                requests.c.usage_source,
                debited,
                _debit.c.currency,
                _debit.c.usage_source,
            )
            .select_from(requests.outerjoin(_debit, to_debit))
            .where(differs),
        ),
        Check(
            "LEDGER-3",
            "the record says that its hold was {1}, but the hold is {2}",
            select(requests.c.id, requests.c.hold_state, holds.c.state)
            .select_from(requests.outerjoin(holds, holds.c.id == requests.c.id))
            .where(other_end),
        ),
        Check(
            "LEDGER-7",
            "a count of the record is negative, or there is one though nobody has counted (counted by {1})",
            select(requests.c.id, requests.c.usage_source).where(or_(*(count < 0 for count in _COUNTS), uncounted)),
        ),
    )


def _corrected() -> Check:
    """LEDGER-10: a correction has entries of its amount, for its account."""
    wrong = or_(
        _debit.c.hold_id.is_(None),
        _debit.c.amount != corrections.c.amount,
        _debit.c.currency != corrections.c.currency,
        _debit.c.ledger_account != "account:" + corrections.c.account_id,
    )
    to_debit = (_debit.c.hold_id == corrections.c.id) & (_debit.c.leg == 0)
    return Check(
        "LEDGER-10",
        "a correction of {1} nano-units {2}, but the entries say {3} {4} for {5}",
        select(
            corrections.c.id,
            corrections.c.amount,
            corrections.c.currency,
            _debit.c.amount,
            _debit.c.currency,
            _debit.c.ledger_account,
        )
        .select_from(corrections.outerjoin(_debit, to_debit))
        .where(wrong),
    )


def _fold_problems(connection: Connection) -> Iterator[Problem]:
    """LEDGER-4: what each key and account spent on each day is the fold of its entries, by the day its holds began.
    LEDGER-8: the roll-ups are the folds of the records and the corrections."""
    for one in spend_differences(connection):
        found, expected = (0 if row is None else row["amount"] for row in (one.found, one.expected))
        place = one.place
        yield Problem(
            "LEDGER-4",
            str(place["subject"]),
            f"on {place['day']} {found} nano-units {place['currency']} are noted as spent on "
            f"{place['model'] or 'no model'}, but the entries add up to {expected}",
        )
    for one in usage_differences(connection):
        where = " ".join(f"{name}={value}" for name, value in one.place.items())
        detail = f"{where}: {_told(one.found)} noted, but the records add up to {_told(one.expected)}"
        yield Problem("LEDGER-8", one.fold, detail)


def _told(row: dict[str, int] | None) -> str:
    return "nothing" if row is None else " ".join(f"{name}={value}" for name, value in row.items())
