"""What a provider wrote, made fit for a caller's eyes: no hosts, paths, credentials or account names, and bounded.

An error text is written by strangers for somebody else: it may name the operator's organisation, quote its key, or
carry a traceback. Each pattern below starts at a boundary and repeats nothing that can match in two ways, so that
hostile text costs no more than linear time.
"""

import re
from collections.abc import Iterable
from typing import Final

MAX_MESSAGE: Final = 2_000
_MAX_READ: Final = 8_000  # what is looked at: enough to fill a message even after much was taken out

_TLDS: Final = (
    "com|cn|net|io|ai|org|dev|app|cloud|internal|local|localdomain|lan|intranet|corp|svc|cluster|edu|gov|co|us|eu|uk|de|"
    "fr|jp|hk|sg|info|xyz|biz|tech|team|run|sh|me|tv|invalid|test|example"
)
_PATTERNS: Final = (
    (re.compile(r"\b(?:https?|wss?|ftp|grpc|redis|postgresql|file)://[^\s\"'<>)\]}，。]+", re.I), "[address]"),
    (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}"), "[account]"),
    (re.compile(r"\bBearer\s+[^\s\"',;]+", re.I), "[credential]"),
    (re.compile(r"\bBasic\s+[A-Za-z0-9+/]{8,}={0,2}"), "[credential]"),
    (re.compile(r"\bbce-v3/[^\s\"',;]+"), "[credential]"),
    (re.compile(r"(?<![A-Za-z0-9])sk-[\w*.-]{6,}"), "[credential]"),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}"), "[credential]"),
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:gsk|xai|csk|nvapi|hf|fw|tgp|ms|pplx|tvly|ghp|AIza|LTAI|AKID|AKIA)[-_]?(?=[\w*-]*\d)[\w*-]{12,}"
        ),
        "[credential]",
    ),
    (
        re.compile(
            r"\b(api[-_ ]?key|access[-_ ]?token|secret(?:[-_ ]?key)?|password|authorization)"
            r"(\W{1,3}(?:is\s+|provided:\s*)?)(?=[\w*./+-]{0,40}[\d*])[\w*./+=-]{8,}",
            re.I,
        ),
        r"\1\2[credential]",
    ),
    (re.compile(r"\b(?:org|proj|acct|user)[-_][A-Za-z0-9]{8,}\b"), "[account]"),
    (re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.]*\d)"), "[address]"),
    (
        re.compile(r"\[(?=[0-9a-f:.]{0,60}(?:::|[a-f]))[0-9a-f.]{0,15}:[0-9a-f:.]{1,45}\](?::\d{1,5})?", re.I),
        "[address]",
    ),
    (re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])", re.I), "[address]"),
    (re.compile(r"(?<![\w:])::1(?![\w:])"), "[address]"),
    (re.compile(rf"(?<![\w.-])(?:[a-z0-9_-]{{1,63}}\.){{1,10}}(?:{_TLDS})(?::\d{{1,5}})?(?![\w-])", re.I), "[address]"),
    (re.compile(r"\blocalhost(?::\d{1,5})?(?!\w)", re.I), "[address]"),
    # Paths of OpenAI's own interface stay: "use /v1/responses" is advice.
    (re.compile(r"(?<![\w/.~])~?/(?!v1/[a-z])(?:[\w.@+-]{1,255}/)+[\w.@+-]{0,255}"), "[path]"),
    (re.compile(r"(?<![\w/.~])/[\w@+-]{1,255}\.[A-Za-z]\w{0,7}\b"), "[path]"),
    (re.compile(r"\b[A-Za-z]:\\[^\s\"']+"), "[path]"),
)
_TRACEBACK: Final = re.compile(r"\s*Traceback \(most recent call last\).*", re.S)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffd]+")


def scrub(text: str, secrets: Iterable[str | None] = (), limit: int = MAX_MESSAGE) -> str:
    """The text without what must not leave the house, at most `limit` characters. `secrets` are removed by value."""
    if len(text) > _MAX_READ:
        # Not in the middle of a word: half a credential would match no pattern.
        text = text[:_MAX_READ].rpartition(" ")[0]
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[credential]")
    text = _CONTROL.sub(" ", _TRACEBACK.sub("", text))
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 4].rstrip() + " ..."
