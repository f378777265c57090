"""What leaves the house in an error's text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.providers.scrub import MAX_MESSAGE, scrub
from tests.providers.asking import CREDENTIAL


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("see https://platform.example.com/keys?x=1 for more", "see [address] for more"),
        ("connect to redis://10.0.0.1:6379/0 failed", "connect to [address] failed"),
        ("upstream gpu-7.cluster.local:8000 is down", "upstream [address] is down"),
        ("no route to api.vendor.example.com.", "no route to [address]."),
        ("dial tcp 10.1.2.3:443: refused", "dial tcp [address]: refused"),
        ("dial tcp [fe80::1:2:3]:443: refused", "dial tcp [address]: refused"),
        ("bound to ::1", "bound to [address]"),
        ("localhost:8000 refused", "[address] refused"),
        ("in /srv/app/worker.py line 3", "in [path] line 3"),
        ("cannot read /models/qwen.gguf", "cannot read [path]"),
        ("cannot read ~/secrets/key", "cannot read [path]"),
        (r"cannot read C:\models\a.bin today", "cannot read [path] today"),
        ("Incorrect API key provided: sk-abc***********wxyz.", "Incorrect API key provided: [credential]"),
        ("header Authorization: Bearer abc.def-1 is wrong", "header Authorization: [credential] is wrong"),
        ("key bce-v3/ALTAK-abc/0123 is unknown", "key [credential] is unknown"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln expired", "token [credential] expired"),
        ("gsk_a1b2c3d4e5f6g7h8i9 is revoked", "[credential] is revoked"),
        ("api_key=abc123def456 is revoked", "api_key=[credential] is revoked"),
        ("gpt-5.6 in organization org-Abc123Def456 on tokens", "gpt-5.6 in organization [account] on tokens"),
        ("account ops@example.com is locked", "account [account] is locked"),
        ("bad\x00things\x1b[31m here", "bad things [31m here"),
        ("it broke\nTraceback (most recent call last):\n  File x", "it broke"),
    ],
)
def test_what_belongs_to_the_operator_is_taken_out(text: str, clean: str) -> None:
    assert scrub(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "Function tools are not supported in /v1/chat/completions. Use /v1/responses.",
        "not a chat model, not supported in the v1/chat/completions endpoint",
        "This model's maximum context length is 8192 tokens (7000 in the messages, 2000 in the completion).",
        "messages[0].content: expected application/json or text/plain and/or image/png",
        "The model `Qwen/Qwen3-8B` does not exist, try gpt-4.1 or llama3.1:8b",
        "max_tokens: 12345678 is larger than 4096, ratio 3/4, at 12:34:56",
        "参数 temperature 必须在 0.0 到 1.0 之间",
        "token limit exceeded; password must not be empty; secret: none",
    ],
)
def test_what_helps_the_caller_stays(text: str) -> None:
    assert scrub(text) == text


def test_the_credential_itself_is_removed_whatever_it_looks_like() -> None:
    assert CREDENTIAL not in scrub(f"the key <{CREDENTIAL}> ({CREDENTIAL}) is wrong", (CREDENTIAL, None, ""))


def test_a_long_text_is_bounded_and_no_credential_is_cut_in_half() -> None:
    text = "word " * 1_599 + "sk-ph-test-" + "a" * 500
    clean = scrub(text)
    assert len(clean) <= MAX_MESSAGE
    assert "sk-ph" not in scrub("https://x.example.com/a " * 330 + "sk-ph-test-" + "a" * 500)


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_credential_never_survives(before: str, after: str) -> None:
    assert CREDENTIAL not in scrub(before + CREDENTIAL + after, (CREDENTIAL,))


@pytest.mark.parametrize(
    "piece", ["a.", "/a", ":a", "a:", "x@", "a-", "1.", "sk-", "eyJ.", "api key ", "\\", "a_", "://"]
)
def test_hostile_text_costs_no_more_than_its_length(piece: str) -> None:
    # A pattern that backtracks would not come back from this within the time of any test run.
    assert len(scrub(piece * 4_000)) <= MAX_MESSAGE
