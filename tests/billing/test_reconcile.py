"""A provider's export beside our records: compared by day and model, and what is not understood is named."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from posthouse.billing.balances import DAY_MS
from posthouse.billing.exports import Export, Row, Used, read_export
from posthouse.billing.reconcile import Reconciliation, canonical, reconcile, reconciliation_to_json
from posthouse.core.errors import InvalidRequest
from posthouse.storage.database import Database
from posthouse.storage.rows import REQUEST, RequestRow
from posthouse.storage.tables import requests
from tests.billing.fakes import NOW
from tests.billing.stored import StoredJournal

DAY = int(NOW) // 86_400 * 86_400  # 2026-11-20


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)


OPENAI_USAGE = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": DAY,
            "end_time": DAY + 86_400,
            "results": [
                {
                    "object": "organization.usage.completions.result",
                    "input_tokens": 1000,
                    "output_tokens": 500,
                    "input_cached_tokens": 800,
                    "input_audio_tokens": 0,
                    "num_model_requests": 5,
                    "project_id": None,
                    "model": "gpt-5-2025-08-07",
                    "batch": False,
                },
            ],
        },
        {"object": "bucket", "start_time": DAY + 86_400, "end_time": DAY + 172_800, "results": []},
    ],
    "has_more": False,
    "next_page": None,
}
OPENAI_COSTS = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": DAY,
            "results": [
                {
                    "object": "organization.costs.result",
                    "amount": {"value": 0.06, "currency": "usd"},
                    "line_item": None,
                },
            ],
        }
    ],
}
ANTHROPIC_USAGE = {
    "data": [
        {
            "starting_at": "2026-11-20T00:00:00Z",
            "ending_at": "2026-11-21T00:00:00Z",
            "results": [
                {
                    "uncached_input_tokens": 1500,
                    "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
                    "cache_read_input_tokens": 200,
                    "output_tokens": 500,
                    "server_tool_use": {"web_search_requests": 10},
                    "api_key_id": None,
                    "workspace_id": None,
                    "model": "claude-opus-5-20260805",
                    "service_tier": "standard",
                    "context_window": "0-200k",
                }
            ],
        }
    ],
    "has_more": False,
}
ANTHROPIC_COSTS = {
    "data": [
        {
            "starting_at": "2026-11-20T00:00:00Z",
            "results": [
                {"currency": "USD", "amount": "123.78912", "workspace_id": None, "model": "claude-opus-5"},
                {"currency": "USD", "amount": "1", "workspace_id": None, "model": "claude-opus-5"},
            ],
        }
    ],
}
OPENAI_CSV = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,"
    "service_tier,input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens\r\n"
    f"{DAY},{DAY + 86_400},2026-11-20T00:00:00+00:00,2026-11-21T00:00:00+00:00,p,5.0,,,gpt-5-2025-08-07,FALSE,default,"
    "1000.0,500.0,800.0,200.0\r\n"
    f"{DAY + 86_400},{DAY + 172_800},2026-11-21T00:00:00+00:00,2026-11-22T00:00:00+00:00,,,,,,,,,,,\r\n"
)
OPENAI_COSTS_TABLE = (
    "start_time\tend_time\tstart_time_iso\tend_time_iso\tamount_value\tamount_currency\tline_item\tproject_id\n"
    f"{DAY}\t{DAY + 86_400}\t2026-11-20T00:00:00+00:00\t2026-11-21T00:00:00+00:00\t0.8958740000000000\tusd\t\t\n"
)
ANTHROPIC_CSV = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count,inference_geo,speed\n"
    "2026-11-20,claude-opus-5-20260805,app,Default,standard,≤ 200k,1500,500,1000,200,500,10,global,standard\n"
)


@pytest.mark.parametrize(
    ("data", "row"),
    [
        (encoded(OPENAI_USAGE), Row("2026-11-20", "gpt-5-2025-08-07", Used(5, 1000, 800, 500))),
        (encoded([OPENAI_USAGE]), Row("2026-11-20", "gpt-5-2025-08-07", Used(5, 1000, 800, 500))),
        (OPENAI_CSV.encode("utf-8-sig"), Row("2026-11-20", "gpt-5-2025-08-07", Used(5, 1000, 800, 500))),
        (encoded(OPENAI_COSTS), Row("2026-11-20", "", Used(cost=60_000_000))),
        (OPENAI_COSTS_TABLE.encode(), Row("2026-11-20", "", Used(cost=895_874_000))),
        (encoded(ANTHROPIC_USAGE), Row("2026-11-20", "claude-opus-5-20260805", Used(None, 3200, 200, 500))),
        (ANTHROPIC_CSV.encode(), Row("2026-11-20", "claude-opus-5-20260805", Used(None, 3200, 200, 500))),
        (encoded(ANTHROPIC_COSTS), Row("2026-11-20", "claude-opus-5", Used(cost=1_237_891_200))),
    ],
)
def test_every_known_form_is_read(data: bytes, row: Row) -> None:
    export = read_export(data)
    assert export.rows[0] == row
    assert export.ignored == ()
    assert export.without_models == (row.model == "")


def test_days_on_which_nothing_was_used_are_told_too() -> None:
    assert read_export(encoded(OPENAI_USAGE)).days == {"2026-11-20", "2026-11-21"}
    assert read_export(OPENAI_CSV.encode()).days == {"2026-11-20", "2026-11-21"}


def test_what_is_not_understood_is_named() -> None:
    page = msgspec.json.decode(encoded(OPENAI_USAGE))
    page["data"][0]["results"][0] |= {"video_seconds": 7, "nested": {"thing": 1}}
    assert read_export(encoded(page)).ignored == ("video_seconds", "nested.thing")
    table = ANTHROPIC_CSV.replace("speed", "holograms")
    assert read_export(table.encode()).ignored == ("holograms",)


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b"", "file"),
        (b"\xff\xfe", "file"),
        (b"{", "file"),
        (b"[" * 100_000, "file"),
        (b"{}", "data"),
        (b'[{"data": 5}]', "data"),
        (b'{"data": [5]}', "results"),
        (b'{"data": [{"start_time": 1, "results": [5]}]}', "results"),
        (b'{"data": [{"start_time": "soon", "results": []}]}', "start_time"),
        (b'{"data": [{"start_time": 1e300, "results": []}]}', "start_time"),
        (b'{"data": [{"starting_at": null, "results": []}]}', "starting_at"),
        (b'{"data": [{"start_time": 1, "results": [{"input_tokens": -1}]}]}', "input_tokens"),
        (b'{"data": [{"start_time": 1, "results": [{"input_tokens": 1.5}]}]}', "input_tokens"),
        (b'{"data": [{"start_time": 1, "results": [{"output_tokens": "many"}]}]}', "output_tokens"),
        (b'{"data": [{"start_time": 1, "results": [{"amount": {"value": "NaN"}}]}]}', "amount"),
        (b'{"data": [{"start_time": 1, "results": [{"amount": {"value": 1, "currency": "eur"}}]}]}', "amount.currency"),
        (b"a,b\n1,2\n", "file"),
        (b"usage_date_utc,model_version,usage_output_tokens\nnever,m,1\n", "usage_date_utc"),
        (b"usage_date_utc,model_version,usage_output_tokens\n2026-11-20,m,1,2,3\n", "file"),
        (b"usage_date_utc,model_version,usage_output_tokens\n2026-11-20,m,1e99\n", "usage_output_tokens"),
    ],
)
def test_what_is_no_export_is_refused_by_name(data: bytes, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_export(data)
    assert caught.value.param == param


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["data", "results", "start_time", "starting_at", "amount", "model"]), inner
                )
            ),
            max_leaves=12,
        ).map(encoded),
    )
)
def test_nothing_but_a_named_complaint_comes_of_any_file(data: bytes) -> None:
    try:
        assert isinstance(read_export(data), Export)
    except InvalidRequest as error:
        assert error.param


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-5-2025-08-07", "gpt-5"),
        ("claude-opus-5-20260805", "claude-opus-5"),
        ("claude-opus-5@20260805", "claude-opus-5"),
        ("chatgpt-4o-latest", "chatgpt-4o"),
        ("models/gemini-pro", "gemini-pro"),
        ("gpt-4-0613", "gpt-4-0613"),
        ("o1", "o1"),
    ],
)
def test_a_model_goes_by_its_name_without_its_date(name: str, expected: str) -> None:
    assert canonical(name) == expected


@pytest.fixture
def compared(database: Database) -> Database:
    """Two requests at the provider on the day of the exports, one on the day after, one elsewhere, one in yuan."""
    journal = StoredJournal(database)
    for number, (provider, model, day, currency) in enumerate(
        [
            ("main", "gpt-5", 0, "USD"),
            ("main", "gpt-5", 0, "USD"),
            ("main", "gpt-6", 1, "USD"),
            ("other", "gpt-5", 0, "USD"),
            ("main", "gpt-5", 0, "CNY"),
            ("main", "gpt-5", 9, "USD"),
        ]
    ):
        moment = DAY * 1000 + day * DAY_MS + number
        row = RequestRow(f"req_{moment:012x}{number:06x}", moment, "key_1", "acc_1", "responses", "smart", "smart")
        journal.append(
            REQUEST,
            msgspec.structs.replace(
                row,
                **{"provider": provider, "deployment": f"{provider}/{model}", "usage_source": "provider"},
                **{"input": 100, "cache_read": 300, "output": 150, "reasoning": 100},
                **{"priced": True, "cost": 20_000_000, "currency": currency},
            ),
        )
    journal.flush()
    journal.apply()
    journal.close()
    return database


def test_what_callers_used_by_credentials_of_their_own_is_no_part_of_it(compared: Database) -> None:
    before = reconciled(compared, encoded(OPENAI_USAGE)).lines
    journal = StoredJournal(compared)
    for number, model in enumerate(["gpt-5", "gpt-5", "only-theirs"]):
        moment = DAY * 1000 + 7_200_000 + number
        row = RequestRow(f"req_{moment:012x}{number:06x}", moment, "key_1", "acc_1", "responses", "smart", "smart")
        own = {"deployment": f"main/{model}", "own_fee_ppm": number, "priced": True, "cost": 0, "currency": "USD"}
        used = {"provider": "main", "usage_source": "provider", "input": 7, "output": 5}
        journal.append(REQUEST, msgspec.structs.replace(row, **own, **used))
    journal.flush()
    journal.apply()
    journal.close()
    with compared.read() as connection:
        assert connection.execute(select(func.count()).where(requests.c.own_fee_ppm.is_not(None))).scalar() == 3
    assert reconciled(compared, encoded(OPENAI_USAGE)).lines == before


def reconciled(database: Database, data: bytes) -> Reconciliation:
    with database.read() as connection:
        return reconcile(connection, ["main"], read_export(data))


def test_differences_are_listed_by_day_and_model(compared: Database) -> None:
    found = reconciled(compared, encoded(OPENAI_USAGE))
    assert [(line.day, line.model) for line in found.different] == [("2026-11-20", "gpt-5"), ("2026-11-21", "gpt-6")]
    assert found.different[0].differences() == {"requests": 2, "input": -200, "cached": -100, "output": -250}
    shown = reconciliation_to_json(found, every=False)
    assert shown["data"][0]["input"] == {"ours": 1200, "theirs": 1000, "difference": -200, "per_cent": -16.67}
    assert shown["data"][0]["matched"] is True
    assert "cost" not in shown["data"][0]
    assert (shown["data"][1]["matched"], shown["data"][1]["output"]["theirs"]) == (False, 0)


def test_costs_of_whole_days_are_compared_with_ours_in_dollars(compared: Database) -> None:
    found = reconciled(compared, encoded(OPENAI_COSTS))
    assert [(line.day, line.model, line.differences()) for line in found.lines] == [
        ("2026-11-20", "", {"cost": 20_000_000})
    ]
    assert reconciliation_to_json(found, every=False)["data"][0]["cost"] == {
        **{"ours": "0.04", "theirs": "0.06", "difference": "0.02", "per_cent": 50.0}
    }


def test_what_only_the_provider_knows_is_listed_without_a_counterpart(compared: Database) -> None:
    found = reconciled(compared, encoded(ANTHROPIC_USAGE))
    (ours, theirs) = found.lines
    assert (ours.model, ours.ours is None, theirs.model, theirs.theirs is None) == (
        *("claude-opus-5", True),
        *("gpt-5", True),
    )
    assert reconciliation_to_json(found, every=False)["data"][0]["input"]["per_cent"] is None


def test_an_export_that_says_the_same_differs_in_nothing(compared: Database) -> None:
    page = msgspec.json.decode(encoded(OPENAI_USAGE))
    page["data"] = page["data"][:1]
    page["data"][0]["results"][0] |= {
        **{"num_model_requests": 3, "input_tokens": 1200, "input_cached_tokens": 900, "output_tokens": 750}
    }
    found = reconciled(compared, encoded(page))
    assert found.different == ()
    shown = reconciliation_to_json(found, every=False)
    assert (shown["data"], shown["equal"]) == ([], 1)
    assert len(reconciliation_to_json(found, every=True)["data"]) == 1
