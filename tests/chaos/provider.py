"""The provider behind the servers, as a process of its own: `python -m tests.chaos.provider LOG`. It prints its port,
does what a request wishes (wishes.py), writes into LOG what it has seen before it answers, and ends with its standard
input.

A line of LOG is `number key what`: `seen`, or `gave` where all of the answer has gone out.
"""

import asyncio
import sys
from pathlib import Path
from typing import IO

from tests.chaos.wishes import Wish, read, usage_of
from tests.e2e.answers import chunk, completion
from tests.e2e.upstream import Upstream, Visit


class Provider:
    """Answers, and keeps the books that the judge compares with."""

    def __init__(self, upstream: Upstream, log: IO[str]) -> None:
        self._upstream = upstream
        self._log = log

    async def answer(self, visit: Visit) -> None:
        self._upstream.forget()  # visits are for tests that look at them
        wish = read(visit.json)
        self._note(wish, "seen")
        if wish.act == "resets early":
            visit.reset()
            return
        if wish.stream:
            await self._stream(visit, wish)
        else:
            await asyncio.sleep(wish.pause * wish.pieces)  # how long it takes is part of the wish
            await visit.whole(completion("word " * wish.pieces, usage=_usage(wish)))
        self._note(wish, "gave")

    async def _stream(self, visit: Visit, wish: Wish) -> None:
        await visit.start_stream()
        await visit.event(chunk({"role": "assistant", "content": ""}))
        for number in range(wish.pieces):
            await visit.event(chunk({"content": f"word {number} "}))
            if wish.act == "resets mid" and number == wish.pieces // 2:
                visit.reset()
                return
            await asyncio.sleep(wish.pause)
        await visit.event(chunk({}, "stop"))
        await visit.event(chunk(usage=_usage(wish)))
        await visit.event("[DONE]")
        await visit.end_stream()

    def _note(self, wish: Wish, what: str) -> None:
        self._log.write(f"{wish.number} {wish.key} {what}\n")
        self._log.flush()


def _usage(wish: Wish) -> dict[str, int]:
    first, second = usage_of(wish.number)
    return {"prompt_tokens": first, "completion_tokens": second, "total_tokens": first + second}


def main() -> None:
    with Path(sys.argv[1]).open("a") as log, Upstream() as upstream:
        upstream.scripts["*"] = Provider(upstream, log).answer
        print("port", upstream.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
