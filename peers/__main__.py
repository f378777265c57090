"""`python -m peers`: runs every peer; exit status 1 where one of them found something. A word runs what has it in its
name."""

import sys
import tempfile
from pathlib import Path

from peers import anthropic_python, crew, openai_python
from peers.environment import PeerError, prepare

SUITES = {"openai-python": openai_python.run, "anthropic-sdk-python": anthropic_python.run}


def main(wanted: str) -> int:
    problems = []
    try:
        environment = prepare("peers")
        for suite in [suite for name, suite in SUITES.items() if wanted in name]:
            with tempfile.TemporaryDirectory(prefix="posthouse-peers-") as folder:
                problems += suite(environment, Path(folder))
        with tempfile.TemporaryDirectory(prefix="posthouse-peers-") as folder:
            problems += crew.run(Path(folder), environment.folder / "bin" / "uv", wanted)
    except PeerError as error:
        problems.append(str(error))
    for problem in problems:
        print(f"peers: {problem}", file=sys.stderr)
    print("peers: failed" if problems else "peers: passed")
    return 1 if problems else 0


sys.exit(main(" ".join(sys.argv[1:])))
