"""The revisions that this version knows, oldest first, without importing Alembic. A test compares them with
versions/."""

from typing import Final

REVISIONS: Final = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
)
HEAD: Final = REVISIONS[-1]
