"""The tree of accounts in SQL, for every room that asks what is below one."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, exists, select

from posthouse.storage.tables import accounts, keys, usage_days


def subtree(account_id: str) -> Select[Any]:
    """The ids of an account and of all below it, for `column.in_(...)`. It ends where a tree has a knot in it, too: a
    row that was found is not found again."""
    tree = select(accounts.c.id).where(accounts.c.id == account_id).cte("subtree", recursive=True)
    return select(tree.union(select(accounts.c.id).join(tree, accounts.c.parent_id == tree.c.id)).c.id)


def above(connection: Connection, subject_ids: Iterable[str]) -> set[str]:
    """These keys and accounts, and all accounts that they are in: whose budgets their spending counts against."""
    found = list(subject_ids)
    of_keys = select(keys.c.account_id).where(keys.c.id.in_(found))
    tree = select(accounts.c.id, accounts.c.parent_id).where(accounts.c.id.in_(found) | accounts.c.id.in_(of_keys))
    line = tree.cte("line", recursive=True)
    higher = select(accounts.c.id, accounts.c.parent_id).join(line, accounts.c.id == line.c.parent_id)
    return {*found, *connection.execute(select(line.union(higher).c.id)).scalars()}


def asking(connection: Connection, account_id: str, most: int) -> Sequence[str] | None:
    """Of an account and all below it those that ever asked for something, perhaps twenty of thousands; None where they
    are more than `most`."""
    below = subtree(account_id)
    c = below.selected_columns
    query = below.where(exists().where(usage_days.c.account_id == c.id)).limit(most + 1)
    found = connection.execute(query).scalars().all()
    return found if len(found) <= most else None
