"""The tree of accounts in SQL, for every room that asks what is below one."""

from typing import Any

from sqlalchemy import Select, select

from posthouse.storage.tables import accounts


def subtree(account_id: str) -> Select[Any]:
    """The ids of an account and of all below it, for `column.in_(...)`. It ends where a tree has a knot in it, too: a
    row that was found is not found again."""
    tree = select(accounts.c.id).where(accounts.c.id == account_id).cte("subtree", recursive=True)
    return select(tree.union(select(accounts.c.id).join(tree, accounts.c.parent_id == tree.c.id)).c.id)
