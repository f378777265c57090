"""`python -m peers`: runs every peer; exit status 1 where one of them found something. A word runs what has it in its
name."""

import sys
import tempfile
import time
from pathlib import Path

from peers import anthropic_python, crew, openai_document, openai_python
from peers.environment import PeerError, prepare

SUITES = {
    "openai-python": openai_python.run,
    "openai-python on OpenAI's document": openai_document.run,
    "anthropic-sdk-python": anthropic_python.run,
}


def main(wanted: str) -> int:
    problems = []
    began = time.monotonic()
    try:
        environment = prepare("peers")
        for name, suite in [(name, suite) for name, suite in SUITES.items() if wanted in name]:
            since = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="posthouse-peers-") as folder:
                problems += suite(environment, Path(folder))
            print(f"  {name} took {time.monotonic() - since:.1f} s", flush=True)
        with tempfile.TemporaryDirectory(prefix="posthouse-peers-") as folder:
            problems += crew.run(Path(folder), environment.folder / "bin" / "uv", wanted)
    except PeerError as error:
        problems.append(str(error))
    for problem in problems:
        print(f"peers: {problem}", file=sys.stderr)
    print(f"peers: {'failed' if problems else 'passed'} in {time.monotonic() - began:.0f} s")
    return 1 if problems else 0


sys.exit(main(" ".join(sys.argv[1:])))
