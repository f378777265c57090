"""What a provider's refusal means: any error answer becomes an `UpstreamFailure` of one of a dozen kinds.

Above: `call.py`. Below: `complaints.py` (reads the body), `scrub.py` (cleans the text), core. The first of these that
knows decides: the row's own codes, codes that all vendors share, words in the message, the HTTP status.
"""

import math
import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Protocol

from posthouse.core.errors import FailureKind, UpstreamFailure
from posthouse.providers.complaints import Complaint, complaint_of
from posthouse.providers.model import Provider
from posthouse.providers.resets import reset_of
from posthouse.providers.scrub import MAX_MESSAGE, scrub

Headers = Sequence[tuple[bytes, bytes]]

MAX_RETRY_AFTER: Final = 86_400.0
_MAX_PLAIN: Final = 300

_CODES: Final[Mapping[str, FailureKind]] = {
    "context_length_exceeded": "context_length",
    "context_window_exceeded": "context_length",
    "model_context_window_exceeded": "context_length",
    "exceed_context_size_error": "context_length",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "contentfilter": "content_filter",
    "responsibleaipolicyviolation": "content_filter",
    "moderation_blocked": "content_filter",
    "data_inspection_failed": "content_filter",
    "insufficient_quota": "quota",
    "insufficient_balance": "quota",
    "insufficient_credits": "quota",
    "billing_error": "quota",
    "billing_hard_limit_reached": "quota",
    "billing_not_active": "quota",
    "exceeded_current_quota_error": "quota",
    "rate_limit_exceeded": "rate",
    "rate_limit_error": "rate",
    "rate_limit_reached_error": "rate",
    "too_many_requests": "rate",
    "resource_exhausted": "rate",
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "invalid_authentication_error": "auth",
    "account_deactivated": "auth",
    "model_not_found": "not_found",
    "deploymentnotfound": "not_found",
    "engine_overloaded_error": "overloaded",
    "overloaded_error": "overloaded",
    "server_overloaded": "overloaded",
    "capacity_exceeded": "overloaded",
    "timeout_error": "timeout",
}
# These say so little that a status knows better; they decide only where there is none (an error inside a 200).
_VAGUE: Final[Mapping[str, FailureKind]] = {
    "invalid_request_error": "bad_request",
    "badrequesterror": "bad_request",
    "invalid_argument": "bad_request",
    "permission_error": "auth",
    "permission_denied": "auth",
    "unauthenticated": "auth",
    "not_found_error": "not_found",
    "not_found": "not_found",
    "unavailable": "overloaded",
    "service_unavailable": "overloaded",
    "deadline_exceeded": "timeout",
}
_STATUSES: Final[Mapping[int, FailureKind]] = {
    401: "auth",
    402: "quota",
    403: "auth",
    404: "not_found",
    405: "not_found",
    408: "timeout",
    410: "not_found",
    429: "rate",
    498: "overloaded",
    503: "overloaded",
    504: "timeout",
    522: "connect",
    524: "timeout",
    529: "overloaded",
}
_TOO_LONG: Final = re.compile(
    r"maximum context length|context[_ ](?:length|window)[_ ]?(?:is )?exceed|exceeds? (?:the|this|its) (?:\S+ )?context"
    r"|exceeds the available context size|greater than the context length|context window exceeds limit"
    r"|prompt is too long|prompt too long|input is too long|maximum prompt length|input token count.{0,40}exceeds"
    r"|exceeded model token limit|reduce the length of the (?:messages|input|prompt)|too large for model with"
    r"|range of input length|exceeds? (?:the )?max(?:imum)? (?:input|prompt|model|sequence) len"
    r"|exceeds? (?:the )?(?:model'?s? )?max(?:imum)? (?:input )?(?:token|length)"
    r"|longer than the (?:maximum )?(?:model'?s )?(?:context|model) length|prompt exceeds max length"
    r"|exceed context limit|too many (?:input )?tokens|input too long|maximum input length is|while limit is"
    r"|exceeds the maximum number of tokens"
    r"|token limit exceeded|超出.{0,12}(?:上下文|长度|限制)|(?:prompt|输入|上下文).{0,12}(?:超长|过长|超过|超出)",
    re.I,
)
_FILTERED: Final = re.compile(
    r"content management policy|content[_ ]?filter|content exists risk|considered high risk|inappropriate content"
    r"|data[_ ]?inspection|content (?:safety|policy|moderation)|safety (?:system|policy|check)|flagged (?:by|for|as)"
    r"|sensitive (?:content|information|words?)|(?:input|output) new_sensitive|敏感|不安全|违规|内容安全",
    re.I,
)
_NO_MONEY: Final = re.compile(
    r"insufficient (?:account )?(?:balance|quota|credit|fund)|exceeded your current quota|credit balance is too low"
    r"|(?:balance|quota|credits?) (?:is |are )?(?:insufficient|exhausted|not enough)|arrearage|in arrears|overdue"
    r"|not enough credits|requires more credits|余额不足|欠费|额度不足|账户余额",
    re.I,
)
_NO_MODEL: Final = re.compile(
    r"\bmodel\b.{0,200}?(?:does ?n[o']t exist|not exist|not found|no longer available)|unknown model|no such model"
    r"|模型.{0,60}不存在",
    re.I | re.S,
)
# Words are believed only where the status leaves room for them: "too many tokens" with a 429 is a rate limit.
_ROOM: Final = frozenset({200, 400, 403, 404, 413, 422, 451, 500})
_WORDS: Final[tuple[tuple[re.Pattern[str], FailureKind, frozenset[int]], ...]] = (
    (_NO_MONEY, "quota", _ROOM | {402, 429}),
    (_TOO_LONG, "context_length", _ROOM - {403, 404}),
    (_FILTERED, "content_filter", _ROOM - {404, 413, 500}),
    (_NO_MODEL, "not_found", _ROOM - {413, 500}),
)
# Our own credential and our own account: a caller must not take the provider's words for a verdict on its key.
_OURS: Final[Mapping[FailureKind, tuple[str, str]]] = {
    "auth": ("The provider refused this gateway's credential.", "upstream_auth_failed"),
    "quota": ("This gateway's account at the provider has no quota left.", "upstream_quota_exhausted"),
}
# The same where the credential was the caller's own: message, code, status, type.
_THEIRS: Final[Mapping[FailureKind, tuple[str, str, int, str]]] = {
    "auth": (
        "The provider refused the credential that you brought.",
        "provider_credential_refused",
        401,
        "authentication_error",
    ),
    "quota": (
        "Your own account at the provider has no quota left.",
        "provider_quota_exhausted",
        429,
        "insufficient_quota",
    ),
}
# What servers say that have nothing to say. As the whole message it would read as if it were about our own address.
_PHRASES: Final[Mapping[int, str]] = {status.value: status.phrase.lower() for status in HTTPStatus}


class Said(Protocol):
    """What a provider said inside an answer, however it was read: a Complaint, or the dialect's error of a stream."""

    @property
    def message(self) -> str: ...

    @property
    def type(self) -> str | None: ...

    @property
    def code(self) -> str | None: ...

    @property
    def param(self) -> str | None: ...


def failure_of(row: Provider, status: int, headers: Headers, body: bytes, secret: str | None = None) -> UpstreamFailure:
    """What an answer means that is no success, or a success (200) with an error inside.

    `secret` is the account's credential, which is removed from the text wherever it stands. Never raises.
    """
    complaint = complaint_of(body)
    said = complaint if complaint is not None else Complaint(_plain(body))
    failure = _failure(row, status, said, secret)
    delay = said.retry_delay
    failure.retry_after = retry_after_of(headers) if delay is None else _bounded(delay)
    if failure.kind == "rate" and failure.retry_after is None:
        reset = reset_of(headers, time.time())
        failure.retry_after = None if reset is None else _bounded(reset)
    failure.upstream_status = status
    return failure


def failure_said(row: Provider, said: Said, secret: str | None = None) -> UpstreamFailure:
    """What an error inside an answer that had begun as a success means. Never raises."""
    failure = _failure(row, 200, said, secret)
    failure.upstream_status = 200
    return failure


def told_to_its_owner(failure: UpstreamFailure) -> UpstreamFailure:
    """The same failure, where the credential was the caller's own: what the provider says of that is the caller's to
    know, with the status in which it was said."""
    kind = failure.kind
    if kind in _THEIRS:
        words, failure.code, failure.status, failure.type = _THEIRS[kind]
        failure.message = words + failure.message.removeprefix(_OURS[kind][0])
        failure.args = (failure.message,)
        if kind == "auth" and failure.upstream_status == 403:
            failure.status, failure.type = 403, "permission_error"
    elif kind == "not_found":
        failure.status, failure.type = 404, "not_found_error"
    return failure


def retry_after_of(headers: Headers) -> float | None:
    """Seconds that the provider asks us to wait, 0 to a day; None where it says nothing that can be read.

    `retry-after-ms` is read first, then `retry-after` as a number or an HTTP date; a date is measured against the
    answer's own `date`, so that a wrong clock on either side does no harm.
    """
    values = {name: value.decode("latin-1").strip() for name, value in headers}
    for name, unit in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        try:
            return _bounded(float(values[name]) * unit)
        except (KeyError, ValueError):
            continue
    if b"retry-after" not in values:
        return None
    try:
        until = parsedate_to_datetime(values[b"retry-after"]).timestamp()
    except (ValueError, OverflowError):
        return None
    try:
        now = parsedate_to_datetime(values[b"date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        now = time.time()
    return _bounded(until - now)


def _bounded(seconds: float) -> float | None:
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _failure(row: Provider, status: int, said: Said, secret: str | None) -> UpstreamFailure:
    kind = _kind_of(row, status, said)
    message = scrub(said.message, (secret,))
    if message.lower() == _PHRASES.get(status):
        message = f"The provider answered with status {status}: {message}"
    if kind in _OURS:
        message = f"{_OURS[kind][0]} It said: {message}" if message else _OURS[kind][0]
    return UpstreamFailure(
        kind,
        message[:MAX_MESSAGE] or f"The provider answered with status {status} and no reason.",
        param=scrub(said.param, (secret,), 200) if said.param else None,
        code=_code_of(kind, said, secret),
    )


def _kind_of(row: Provider, status: int, said: Said) -> FailureKind:
    words = [word.lower() for word in (said.code, said.type) if word]
    by_code = _by_code(row.codes, words) or _by_code(_CODES, words)
    if by_code is not None and by_code != "bad_request":
        return by_code  # a code for every bad request says less than the words beside it
    if status == 200 and said.code is not None and said.code.isdecimal() and len(said.code) == 3:
        # An aggregator's error inside a 200 carries the status that it should have had.
        status = int(said.code)
    for pattern, kind, room in _WORDS:
        if status in room and pattern.search(said.message[:4_000]):
            return kind
    if by_code is not None:
        return by_code
    if status == 200:
        return _by_code(_VAGUE, words) or "server"
    return _by_code(row.codes, [str(status)]) or _by_status(status)


def _by_code(codes: Mapping[str, FailureKind], words: Sequence[str]) -> FailureKind | None:
    """The kind of the first word that is known, as it stands or by its family (`Throttling.RateQuota`)."""
    for word in words:
        kind = codes.get(word) or codes.get(word.partition(".")[0])
        if kind is not None:
            return kind
    return None


def _by_status(status: int) -> FailureKind:
    return _STATUSES.get(status) or ("bad_request" if 400 <= status <= 499 else "server")


def _code_of(kind: FailureKind, said: Said, secret: str | None) -> str | None:
    if kind in _OURS:
        return _OURS[kind][1]
    if kind == "context_length":
        return "context_length_exceeded"  # the one code that clients act upon, by making the conversation shorter
    if kind == "content_filter":
        return "content_filter"
    if said.code is not None:
        return scrub(said.code, (secret,), 100)
    return "rate_limit_exceeded" if kind == "rate" else None


def _plain(body: bytes) -> str:
    """The text of a short body that is neither JSON nor a page."""
    text = body[:_MAX_PLAIN].decode("utf-8", "replace").strip()
    return "" if text.startswith(("<", "{", "[")) or len(body) > 4 * _MAX_PLAIN else text
