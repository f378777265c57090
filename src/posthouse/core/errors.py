"""One tree of errors; the faces turn it into a response in one place.

    PosthouseError
    ├── InvalidRequest        400  the caller's input (names the field)
    ├── Unauthenticated       401  no key, or one we do not know
    ├── Forbidden             403  a known key that may not do this
    ├── NotFound              404  unknown model, route or id (another tenant's id too)
    ├── MethodNotAllowed      405
    ├── RequestTimeout        408  the caller was too slow to send its request
    ├── BodyTooLarge          413
    ├── RateLimited           429  a limit of ours (carries retry_after)
    ├── InsufficientQuota     429  a budget of ours (never worth a retry)
    ├── Unavailable           503  we are draining, or cannot record safely
    ├── UpstreamFailure       4xx/5xx by `kind`: what a provider did
    └── ConfigError           not HTTP: the operator's settings (names file, line, key)

`status`, `type`, `code` and `param` are OpenAI's vocabulary, since three of the five dialects derive from it; a dialect
renames them in its own encoder.
"""

from typing import Final, Literal

FailureKind = Literal[
    "auth",  # our credential was refused: the operator's fault, not the caller's
    "quota",  # the provider account has no money left
    "rate",  # the provider's rate limit
    "context_length",
    "content_filter",
    "bad_request",
    "not_found",  # the provider does not have this model or path
    "overloaded",
    "timeout",
    "connect",  # no connection, or it broke before an answer
    "server",  # 5xx, or an answer that makes no sense
]

# Worth another deployment, and worth the same one again after a pause. From wire.md section 4.
FAILOVER_KINDS: Final[frozenset[FailureKind]] = frozenset(
    {"auth", "quota", "rate", "not_found", "overloaded", "timeout", "connect", "server"}
)
RETRY_KINDS: Final[frozenset[FailureKind]] = frozenset({"rate", "overloaded", "timeout", "connect", "server"})

_STATUS_OF_KIND: Final[dict[FailureKind, int]] = {
    "auth": 502,
    "quota": 503,
    "rate": 429,
    "context_length": 400,
    "content_filter": 400,
    "bad_request": 400,
    "not_found": 502,
    "overloaded": 503,
    "timeout": 504,
    "connect": 502,
    "server": 502,
}
_TYPE_OF_KIND: Final[dict[FailureKind, str]] = {
    "rate": "rate_limit_error",
    "context_length": "invalid_request_error",
    "content_filter": "invalid_request_error",
    "bad_request": "invalid_request_error",
}


class PosthouseError(Exception):
    """Base of everything that we raise on purpose. `message` is safe to show to the caller."""

    status: int = 500
    type: str = "server_error"
    code: str | None = None
    trail: bytes = b""  # response header lines that say which attempts were made, where some were

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code

    def headers(self) -> list[tuple[str, str]]:
        """Extra response headers (lower-case names) that belong to this error."""
        return []


class InvalidRequest(PosthouseError):
    status = 400
    type = "invalid_request_error"


class Unauthenticated(PosthouseError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(PosthouseError):
    status = 403
    type = "permission_error"


class NotFound(PosthouseError):
    status = 404
    type = "not_found_error"


class MethodNotAllowed(PosthouseError):
    """`allowed` names the methods that there are, with commas; empty where nobody knows them all."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, message: str, allowed: str = "") -> None:
        super().__init__(message)
        self.allowed = allowed

    def headers(self) -> list[tuple[str, str]]:
        return [("allow", self.allowed)] if self.allowed else []


class RequestTimeout(PosthouseError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class BodyTooLarge(PosthouseError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class RateLimited(PosthouseError):
    """A limit of ours. `retry_after` is in seconds; `type` is `requests`, `tokens` or `concurrency`, as OpenAI does."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, dimension: str, retry_after: float) -> None:
        super().__init__(message)
        self.type = dimension
        self.retry_after = retry_after

    def headers(self) -> list[tuple[str, str]]:
        return retry_headers(self.retry_after)


class InsufficientQuota(PosthouseError):
    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"

    def headers(self) -> list[tuple[str, str]]:
        return [("x-should-retry", "false")]


class Unavailable(PosthouseError):
    """We cannot serve just now (draining, or records cannot be kept). Safe to retry elsewhere."""

    status = 503
    type = "server_error"
    code = "unavailable"


class UpstreamFailure(PosthouseError):
    """What a provider did instead of answering. `message` is already scrubbed of its hosts, paths and credentials.

    `retry_after` is the provider's own wish in seconds, None where it said nothing. `upstream_status` is what it sent,
    None where nothing came. `unsent`: there was no connection to it, so that it cannot have heard of the request.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.kind: FailureKind = kind
        self.status = _STATUS_OF_KIND[kind]
        self.type = _TYPE_OF_KIND.get(kind, "upstream_error")
        self.retry_after = retry_after
        self.upstream_status: int | None = None
        self.unsent = False

    def headers(self) -> list[tuple[str, str]]:
        if self.kind == "rate" and self.retry_after is not None:
            return retry_headers(self.retry_after)
        # We have already retried and failed over: an SDK that tries again multiplies the load for nothing.
        return [("x-should-retry", "false")]


class ConfigError(PosthouseError):
    """A setting that cannot stand. The message names where (file and line, variable or flag) and which key."""


def retry_headers(seconds: float) -> list[tuple[str, str]]:
    """`retry-after` in whole seconds (rounded up) and `retry-after-ms`, as the SDKs read them."""
    ms = max(1, int(seconds * 1000) + 1)
    return [("retry-after", str(-(-ms // 1000))), ("retry-after-ms", str(ms))]
