"""`python -m peers`: runs every peer; exit status 1 where one of them found something."""

import sys
import tempfile
from pathlib import Path

from peers import openai_python
from peers.environment import PeerError, prepare


def main() -> int:
    try:
        environment = prepare()
        with tempfile.TemporaryDirectory(prefix="posthouse-peers-") as folder:
            problems = openai_python.run(environment, Path(folder))
    except PeerError as error:
        problems = [str(error)]
    for problem in problems:
        print(f"peers: {problem}", file=sys.stderr)
    print("peers: failed" if problems else "peers: passed")
    return 1 if problems else 0


sys.exit(main())
