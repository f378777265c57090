"""What a refusal means, whichever of the usual shapes it has."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import FailureKind
from posthouse.providers import minimax, openai_compatible, openrouter
from posthouse.providers.complaints import Complaint, complaint_of
from posthouse.providers.failures import MAX_RETRY_AFTER, failure_of, failure_said, retry_after_of
from tests.providers.asking import CREDENTIAL

ROW = openai_compatible.ROW


def kind(status: int, **error: object) -> FailureKind:
    return failure_of(ROW, status, [], msgspec.json.encode({"error": error})).kind


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            b'{"error":{"message":"m","type":"t","param":"p","code":"c"}}',
            Complaint("m", "t", "c", "p"),
        ),
        (
            b'{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}',
            Complaint("m", "BadRequestError", "400"),
        ),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}', Complaint("m", "overloaded_error")),
        (
            b'[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"17s"}]}}]',
            Complaint("m", "RESOURCE_EXHAUSTED", "429", None, 17.0),
        ),
        (b'{"code":20012,"message":"m","data":null}', Complaint("m", None, "20012")),
        (b'{"code":"InvalidApiKey","message":"m","request_id":"r"}', Complaint("m", None, "InvalidApiKey")),
        (b'{"object":"error","message":"m","type":"t","param":"p","code":40001}', Complaint("m", "t", "40001", "p")),
        (b'{"base_resp":{"status_code":1004,"status_msg":"m"}}', Complaint("m", None, "1004")),
        (b'{"error":"m","error_type":"validation"}', Complaint("m", "validation")),
        (
            b'{"code":"Client specified an invalid argument","error":"m"}',
            Complaint("m", None, "Client specified an invalid argument"),
        ),
        (
            b'{"detail":[{"loc":["body","messages",0,"role"],"msg":"Field required"}]}',
            Complaint("messages.0.role: Field required", None, None, "messages.0.role"),
        ),
        (
            b'{"object":"error","message":{"detail":[{"loc":["body","seed"],"msg":"Extra inputs"}]},"type":"t"}',
            Complaint("seed: Extra inputs", "t", None, "seed"),
        ),
        (b'{"type":"about:blank","title":"Not Found","status":404,"detail":"m"}', Complaint("m", "about:blank")),
        (b'{"choices":[{"index":0,"error":{"code":502,"message":"m"}}]}', Complaint("m", None, "502")),
        (
            b'{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"why","provider_name":"p"}}}',
            Complaint("Provider returned error: why", None, "400"),
        ),
    ],
)
def test_every_usual_shape_is_read(body: bytes, complaint: Complaint) -> None:
    assert complaint_of(body) == complaint


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"null",
        b"[]",
        b"\xff",
        b'{"error":null}',
        b'{"error":{}}',
        b'{"choices":[{"index":0,"delta":{"content":"hi"}}]}',
        b'{"base_resp":{"status_code":0,"status_msg":"success"},"choices":[]}',
        b'{"code":0,"message":"success","data":[]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_complaint_is_none(body: bytes) -> None:
    assert complaint_of(body) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "bad_request"),
        (401, "auth"),
        (402, "quota"),
        (403, "auth"),
        (404, "not_found"),
        (405, "not_found"),
        (408, "timeout"),
        (409, "bad_request"),
        (413, "bad_request"),
        (422, "bad_request"),
        (429, "rate"),
        (498, "overloaded"),
        (500, "server"),
        (502, "server"),
        (503, "overloaded"),
        (504, "timeout"),
        (524, "timeout"),
        (529, "overloaded"),
        (301, "server"),
        (200, "server"),
    ],
)
def test_a_status_alone_has_a_meaning(status: int, expected: FailureKind) -> None:
    failure = failure_of(ROW, status, [], b"")
    assert failure.kind == expected
    assert failure.upstream_status == status
    assert failure.message


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (429, "insufficient_quota", "quota"),
        (429, "rate_limit_exceeded", "rate"),
        (400, "context_length_exceeded", "context_length"),
        (400, "content_filter", "content_filter"),
        (400, "model_not_found", "not_found"),
        (429, "engine_overloaded_error", "overloaded"),
        (400, "invalid_api_key", "auth"),
    ],
)
def test_a_code_knows_better_than_the_status(status: int, code: str, expected: FailureKind) -> None:
    assert kind(status, message="m", code=code) == expected
    assert kind(status, message="m", type=code) == expected


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        "prompt is too long: 213462 tokens > 200000 maximum",
        "Your input exceeds the context window of this model.",
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        "Please reduce the length of the messages or completion.",
        "the request exceeds the available context size, try increasing it",
        "The number of tokens to keep from the initial prompt is greater than the context length",
        "invalid params, context window exceeds limit",
        "Your request exceeded model token limit: 262144 (requested: 291351)",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
        "Requested token count exceeds the model's maximum context length of 65536 tokens.",
        "The input (40000 tokens) is longer than the model's context length (32768 tokens).",
        "Current length is 9000 while limit is 8192",
        "Prompt 超长",
        "输入内容过长,超出模型上下文长度限制",
    ],
)
def test_a_conversation_that_is_too_long_is_known_by_its_words(message: str) -> None:
    failure = failure_of(ROW, 400, [], msgspec.json.encode({"error": {"message": message, "code": 400}}))
    assert (failure.kind, failure.code, failure.status) == ("context_length", "context_length_exceeded", 400)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (429, "Too many tokens, please wait before trying again.", "rate"),
        (400, "Content Exists Risk", "content_filter"),
        (400, "The request was rejected because it was considered high risk", "content_filter"),
        (403, "Your input was flagged by the moderation of the model", "content_filter"),
        (400, "Input data may contain inappropriate content.", "content_filter"),
        (400, "系统检测到输入或生成内容可能包含不安全或敏感内容", "content_filter"),
        (403, "Your account balance is insufficient", "quota"),
        (429, "You exceeded your current quota, please check your plan and billing details.", "quota"),
        (429, "余额不足或无可用资源包,请充值。", "quota"),
        (400, "Model Not Exist", "not_found"),
        (400, "The model `gpt-9` does not exist or you do not have access to it.", "not_found"),
        (400, "Invalid value for 'temperature'", "bad_request"),
        (401, "Authentication Fails, Your api key is invalid", "auth"),
    ],
)
def test_other_words_that_decide(status: int, message: str, expected: FailureKind) -> None:
    assert kind(status, message=message) == expected


def test_a_row_has_the_first_word() -> None:
    row = msgspec.structs.replace(ROW, codes={"insufficient_quota": "rate", "throttling": "overloaded", "418": "quota"})
    body = b'{"error":{"message":"m","code":"%s"}}'
    assert failure_of(row, 429, [], body % b"insufficient_quota").kind == "rate"
    assert failure_of(row, 400, [], body % b"Throttling.RateQuota").kind == "overloaded"
    assert failure_of(row, 418, [], b"").kind == "quota"


def test_an_error_inside_a_success_is_known_by_its_row() -> None:
    failure = failure_of(
        minimax.ROW, 200, [], b'{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}'
    )
    assert (failure.kind, failure.upstream_status) == ("quota", 200)


def test_an_error_inside_a_stream_is_known_without_its_bytes() -> None:
    assert failure_said(openrouter.ROW, Complaint("down", None, "502")).kind == "server"
    assert failure_said(openrouter.ROW, Complaint("slow down", None, "429")).kind == "rate"
    assert failure_said(ROW, Complaint("no", "invalid_request_error")).kind == "bad_request"
    assert failure_said(ROW, Complaint(f"no {CREDENTIAL}"), CREDENTIAL).message == "no [credential]"


def test_our_own_credential_and_account_are_not_the_callers_affair() -> None:
    auth = failure_of(
        ROW, 401, [], b'{"error":{"message":"Incorrect API key provided: sk-a***b","code":"invalid_api_key"}}'
    )
    assert (auth.status, auth.code) == (502, "upstream_auth_failed")
    assert auth.message.startswith("The provider refused this gateway's credential.")
    quota = failure_of(ROW, 429, [], b'{"error":{"message":"m","code":"insufficient_quota"}}')
    assert (quota.status, quota.code) == (503, "upstream_quota_exhausted")


def test_param_and_code_of_the_vendor_are_kept() -> None:
    body = b'{"error":{"message":"m","type":"invalid_request_error","param":"messages[0].role","code":40001}}'
    failure = failure_of(ROW, 400, [], body)
    assert (failure.param, failure.code, failure.type, failure.status) == (
        "messages[0].role",
        "40001",
        "invalid_request_error",
        400,
    )


def test_a_structure_is_no_param_and_no_code() -> None:
    failure = failure_of(ROW, 400, [], b'{"error":{"message":"m","param":{"a":1},"code":["x"]}}')
    assert (failure.param, failure.code) == (None, None)


def test_the_credential_is_removed_from_message_param_and_code() -> None:
    body = msgspec.json.encode({"error": {"message": f"no {CREDENTIAL}", "param": CREDENTIAL, "code": CREDENTIAL}})
    failure = failure_of(ROW, 400, [], body, CREDENTIAL)
    assert CREDENTIAL not in f"{failure.message} {failure.param} {failure.code}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"upstream connect error", "upstream connect error"),
        (b"<html><title>502 Bad Gateway</title></html>", "The provider answered with status 502 and no reason."),
        (b"x" * 10_000, "The provider answered with status 502 and no reason."),
        (b"Bad Gateway", "The provider answered with status 502: Bad Gateway"),
        (b'{"detail":"Bad Gateway"}', "The provider answered with status 502: Bad Gateway"),
    ],
)
def test_a_page_is_not_shown_but_a_line_is(body: bytes, message: str) -> None:
    assert failure_of(ROW, 502, [], body).message == message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b" 1.5 ")], 1.5),
        ([(b"retry-after", b"60"), (b"retry-after-ms", b"250")], 0.25),
        ([(b"retry-after-ms", b"soon"), (b"retry-after", b"3")], 3.0),
        ([(b"retry-after", b"-5")], 0.0),
        ([(b"retry-after", b"1e300")], MAX_RETRY_AFTER),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"later")], None),
        ([(b"retry-after", b"Sat, 21 Nov 2026 02:00:30 GMT"), (b"date", b"Sat, 21 Nov 2026 02:00:00 GMT")], 30.0),
        ([(b"retry-after", b"Sat, 21 Nov 2026 01:00:00 GMT"), (b"date", b"Sat, 21 Nov 2026 02:00:00 GMT")], 0.0),
        ([(b"retry-after", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"date", b"today")], 0.0),
        ([(b"retry-after", b"\xff")], None),
    ],
)
def test_the_wish_to_be_left_alone_is_read_and_bounded(
    headers: list[tuple[bytes, bytes]], seconds: float | None
) -> None:
    assert retry_after_of(headers) == seconds


def test_a_rate_limit_carries_the_vendors_wish() -> None:
    failure = failure_of(ROW, 429, [(b"retry-after", b"2")], b"{}")
    assert (failure.kind, failure.retry_after) == ("rate", 2.0)
    body = b'{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"17s"}]}}'
    assert failure_of(ROW, 429, [(b"retry-after", b"2")], body).retry_after == 17.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "choices", "base_resp", "status_code", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.integers(100, 999), JSON | st.binary(max_size=50), st.lists(st.tuples(st.just(b"retry-after"), st.binary())))
def test_no_answer_however_odd_raises(status: int, body: object, headers: list[tuple[bytes, bytes]]) -> None:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    failure = failure_of(ROW, status, headers, raw)
    assert failure.message
    assert failure.retry_after is None or 0 <= failure.retry_after <= MAX_RETRY_AFTER
