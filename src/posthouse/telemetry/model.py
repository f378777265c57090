"""What telemetry is told of a request that is over."""

from typing import Protocol

from msgspec import Struct

from posthouse.core.usage import Usage, UsageSource


class Figures(Protocol):
    """The record of a finished request, as far as it is counted and logged (storage.rows.RequestRow)."""

    @property
    def id(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def account_id(self) -> str: ...
    @property
    def operation(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def deployment(self) -> str | None: ...
    @property
    def stream(self) -> bool: ...
    @property
    def status(self) -> int: ...
    @property
    def error_code(self) -> str | None: ...
    @property
    def attempts(self) -> int: ...
    @property
    def cost(self) -> int | None: ...
    @property
    def currency(self) -> str | None: ...
    @property
    def ended_by(self) -> str: ...
    @property
    def usage_source(self) -> UsageSource | None: ...


class Finished(Struct, frozen=True, gc=False):
    """A request that is over. `at` is when, in seconds since the epoch; the other times are seconds.

    `overhead` is what the house itself added: everything but the wait for the provider; None, as `first_token`, where
    there was no answer.
    """

    record: Figures
    usage: Usage
    key_name: str
    at: float
    duration: float
    first_token: float | None
    overhead: float | None
