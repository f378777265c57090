"""Recorded exchanges with real upstreams: an excerpt that is always there, and all of them where the folder is found.

`POSTHOUSE_TEST_RECORDINGS` names the file; else it is looked for beside the repository.
"""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

_ROOT: Final = Path(__file__).parents[2]
EXCERPT: Final = _ROOT / "tests" / "data" / "recordings_excerpt.jsonl"
_ALL: Final = _ROOT.parent / "shared" / "spec" / "recordings.jsonl.gz"


def excerpt() -> list[dict[str, Any]]:
    return [json.loads(line) for line in EXCERPT.read_text("utf-8").splitlines()]


def everything() -> Iterator[dict[str, Any]]:
    """All recordings; skips the test where the file is missing."""
    path = Path(os.environ.get("POSTHOUSE_TEST_RECORDINGS", _ALL))
    if not path.is_file():
        pytest.skip(f"no recordings at {path} (POSTHOUSE_TEST_RECORDINGS names another place)")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def is_chat_stream(recording: dict[str, Any]) -> bool:
    return bool(
        recording["streaming"] and recording["endpoint"].endswith("/chat/completions") and recording["response"]
    )


def is_whole_chat(recording: dict[str, Any]) -> bool:
    return bool(
        not recording["streaming"] and recording["endpoint"].endswith("/chat/completions") and recording["response"]
    )


def rendered(chunks: list[dict[str, Any]]) -> bytes:
    """Chunks as the upstream's bytes."""
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
