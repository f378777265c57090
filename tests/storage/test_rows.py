"""Rows and columns are in one order."""

import msgspec

from posthouse.storage.rows import EndRow, HoldRow, RequestRow
from posthouse.storage.tables import holds, requests


def test_a_record_has_the_columns_of_its_table_in_their_order() -> None:
    assert list(RequestRow.__struct_fields__) == requests.c.keys()


def test_a_hold_names_columns_of_its_table() -> None:
    assert set(HoldRow.__struct_fields__) <= set(holds.c.keys())


def test_rows_encode_to_json_arrays() -> None:
    row = HoldRow("req_1", "key_1", "acc_1", "fast", None, None, 5)
    assert msgspec.json.encode(row) == b'["req_1","key_1","acc_1","fast",null,null,5,null]'


def test_a_record_of_an_older_version_takes_defaults_for_what_it_lacks() -> None:
    line = b'["req_1",1,"key_1","acc_1","chat.completions","fast",null,null,null,false,200]'
    assert msgspec.json.decode(line, type=RequestRow).ended_by == "complete"


def test_an_end_survives_its_encoding() -> None:
    row = EndRow("req_1", "settled", 5, 7, "USD", "provider", "key_1", "acc_1", "main", 20261121, None)
    assert msgspec.json.decode(msgspec.json.encode(row), type=EndRow) == row
