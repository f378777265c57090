"""What a check of `doctor` finds, and what to do about it."""

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """`remedy` is None where nothing needs to be done."""

    check: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str | None = None


def ok(check: str, detail: str) -> Finding:
    return Finding(check, "ok", detail)


def warn(check: str, detail: str, remedy: str | None) -> Finding:
    return Finding(check, "warn", detail, remedy)


def fail(check: str, detail: str, remedy: str | None) -> Finding:
    return Finding(check, "fail", detail, remedy)
