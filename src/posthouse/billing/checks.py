"""What one check of `ledger verify` is."""

from typing import Any

from msgspec import Struct
from sqlalchemy import Select


class Check(Struct, frozen=True):
    """`query` gives the id first; `detail` is a format over the whole row."""

    rule: str
    detail: str
    query: Select[Any]
