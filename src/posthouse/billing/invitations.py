"""Invitations: a code with which somebody makes an account of his own, and what is credited for it.

An acceptance is one transaction: the use is counted by one conditional UPDATE, the account and its first key are made
(`join`, by the room of accounts), and both bonuses are credited; or nothing of it happened. So of any number that come
at once no more get in than may, and none of them halfway.

Above: api/invitations.py, which puts this room and that of accounts together; the command line. Below: credits.py, the
tables.
"""

from collections.abc import Callable
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection, Row, and_, exists, or_, select, update

from posthouse.billing.codes import CodeSpent
from posthouse.billing.credits import Credit, Maker, NewCredit
from posthouse.billing.store import FIRST_PAGE, Page, cut
from posthouse.billing.tickets import digest_of, hint_of, new_ticket
from posthouse.core.errors import NotFound
from posthouse.storage import revisions
from posthouse.storage.database import Database
from posthouse.storage.tables import invitation_uses, invitations

MAX_COUNT: Final = 1_000
MAX_USES: Final = 100_000
State = Literal["open", "used", "revoked", "expired"]
T = TypeVar("T")
_UNKNOWN: Final = "There is no such invitation. Check how it is written."


class Terms(Struct, frozen=True):
    """What comes of an acceptance: `account` and `key` are forms of the admin API, without a name; the bonuses are
    nano-units of `currency`, 0 is none."""

    account: dict[str, Any] = {}
    key: dict[str, Any] = {}
    bonus: int = 0
    inviter_bonus: int = 0
    currency: str = ""


class NewInvitation(Struct, frozen=True):
    """`parent_id`: the account below which the new ones are; None: each is a root. `inviter_id`: the account that gets
    the inviter's bonus. `expires_at` in ms since the epoch; None: never."""

    name: str
    parent_id: str | None
    inviter_id: str | None
    terms: Terms
    max_uses: int
    expires_at: int | None
    author: str


class Invitation(NewInvitation, frozen=True):
    id: str
    hint: str
    uses: int
    revoked_at: int | None
    created_at: int

    def state(self, now_ms: int) -> State:
        if self.revoked_at is not None:
            return "revoked"
        if self.uses >= self.max_uses:
            return "used"
        return "expired" if self.expires_at is not None and self.expires_at <= now_ms else "open"


class Joined(Struct, Generic[T], frozen=True):
    """A new account, and whatever else its maker has to tell of it."""

    account_id: str
    made: T


class Accepted(Struct, Generic[T], frozen=True):
    invitation: Invitation
    joined: Joined[T]
    credits: tuple[Credit, ...]


Join = Callable[[Connection, Invitation], Joined[T]]


class InvitationDesk:
    """Blocks: use threads."""

    def __init__(self, database: Database, maker: Maker) -> None:
        self._database = database
        self._maker = maker

    def make(self, new: NewInvitation, count: int = 1) -> list[tuple[Invitation, str]]:
        """So many invitations with their codes: the only time that these are known."""
        made: list[tuple[Invitation, str]] = []
        rows = []
        for _ in range(count):
            ticket = new_ticket()
            one = Invitation(
                **{name: getattr(new, name) for name in NewInvitation.__struct_fields__},
                id=self._maker.make_id("inv"),
                hint=hint_of(ticket),
                uses=0,
                revoked_at=None,
                created_at=self._maker.now_ms(),
            )
            made.append((one, ticket))
            rows.append({**asdict(one), "terms": msgspec.json.encode(one.terms).decode(), "hash": digest_of(ticket)})
        with self._database.write() as connection:
            connection.execute(invitations.insert(), rows)
        return made

    def listed(self, page: Page = FIRST_PAGE) -> tuple[list[Invitation], str | None]:
        """The newest first, and the next cursor or None."""
        query = select(invitations).order_by(invitations.c.id.desc()).limit(page.size + 1)
        if page.cursor is not None:
            query = query.where(invitations.c.id < page.cursor)
        with self._database.read() as connection:
            rows = [_invitation(row) for row in connection.execute(query)]
        return cut(rows, page.size, lambda row: row.id)

    def revoke(self, invitation_id: str) -> Invitation:
        """For good; accounts that came by it stay. NotFound."""
        mine = invitations.c.id == invitation_id
        with self._database.write() as connection:
            unrevoked = update(invitations).where(mine, invitations.c.revoked_at.is_(None))
            connection.execute(unrevoked.values(revoked_at=self._maker.now_ms()))
            row = connection.execute(select(invitations).where(mine)).first()
        if row is None:
            raise NotFound("There is no invitation with this id.")
        return _invitation(row)

    def any_open(self) -> bool:
        """Whether there is an invitation that somebody could accept."""
        c = invitations.c
        unexpired = or_(c.expires_at.is_(None), c.expires_at > self._maker.now_ms())
        query = select(exists().where(and_(c.revoked_at.is_(None), c.uses < c.max_uses, unexpired)))
        with self._database.read() as connection:
            return bool(connection.execute(query).scalar())

    def accept(self, typed: object, join: Join[T]) -> Accepted[T]:
        """NotFound for what is no invitation; CodeSpent; whatever `join` raises, and then nothing has happened."""
        digest = digest_of(typed)
        if digest is None:
            raise NotFound(_UNKNOWN, code="invitation_unknown", param="code")
        with self._database.read() as connection:
            # Who only guesses takes no lock.
            self._good(connection, digest)
        with self._database.write() as connection:
            # In this order everywhere: the accounts' revision, then what is theirs.
            revisions.bump(connection, revisions.ACCOUNTS)
            found = self._good(connection, digest)
            c = invitations.c
            taken = connection.execute(
                update(invitations)
                .where(c.id == found.id, c.uses < c.max_uses, c.revoked_at.is_(None))
                .values(uses=c.uses + 1)
            )
            if taken.rowcount != 1:  # between the two somebody has revoked it
                raise CodeSpent("The invitation was revoked.", code="invitation_revoked", param="code")
            joined = join(connection, found)
            use_id = self._maker.make_id("use")
            connection.execute(
                invitation_uses.insert().values(
                    id=use_id,
                    invitation_id=found.id,
                    account_id=joined.account_id,
                    created_at=self._maker.now_ms(),
                )
            )
            return Accepted(found, joined, tuple(self._bonuses(connection, found, use_id, joined.account_id)))

    def _bonuses(self, connection: Connection, by: Invitation, use_id: str, account_id: str) -> list[Credit]:
        wanted = [("invited", account_id, by.terms.bonus)]
        if by.inviter_id is not None:
            wanted.append(("inviter", by.inviter_id, by.terms.inviter_bonus))
        made = []
        for whose, credited, amount in wanted:
            if amount:
                new = NewCredit(
                    account_id=credited,
                    amount=amount,
                    currency=by.terms.currency,
                    kind="invitation",
                    source=f"{whose}:{use_id}",
                    reason=f"the invitation {by.id}",
                    author=by.author,
                )
                made.append(self._maker.make(connection, new)[0])
        return made

    def _good(self, connection: Connection, digest: bytes) -> Invitation:
        row = connection.execute(select(invitations).where(invitations.c.hash == digest)).first()
        if row is None:
            raise NotFound(_UNKNOWN, code="invitation_unknown", param="code")
        found = _invitation(row)
        match found.state(self._maker.now_ms()):
            case "revoked":
                raise CodeSpent("The invitation was revoked.", code="invitation_revoked", param="code")
            case "used":
                raise CodeSpent("The invitation has been used up.", code="invitation_used", param="code")
            case "expired":
                raise CodeSpent("The invitation has expired.", code="invitation_expired", param="code")
            case "open":
                return found


def _invitation(row: Row[Any]) -> Invitation:
    values = {name: row._mapping[name] for name in Invitation.__struct_fields__}
    return Invitation(**{**values, "terms": msgspec.json.decode(values["terms"], type=Terms)})
