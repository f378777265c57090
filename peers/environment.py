"""The environment of the peers: `.venv-peers`, made from the locked requirements when they change."""

import hashlib
import re
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import Final

from msgspec import Struct

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / ".venv-peers"
REQUIREMENTS: Final = ROOT / "requirements" / "peers.txt"


class PeerError(Exception):
    """Nothing could be said about a peer, because it could not be run."""


class Environment(Struct, frozen=True):
    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def source(self, package: str) -> Path:
        """The unpacked source distribution of a locked package, where its own tests are."""
        pin = re.search(
            rf"^{package}(?:\[[^]]*\])?==(\S+)((?: \\\n +--hash=\S+)+)", REQUIREMENTS.read_text(), re.MULTILINE
        )
        if pin is None:
            raise PeerError(f"{package} is not in {REQUIREMENTS.name}")
        version, hashes = pin.groups()
        target = self.folder / "source" / f"{package}-{version}"
        if not target.is_dir():
            target.parent.mkdir(exist_ok=True)
            wanted = target.parent / f"{package}.txt"
            wanted.write_text(f"{package}=={version}{hashes}\n")
            options = ["--no-deps", "--no-build-isolation", "--require-hashes", "--no-binary", package]
            self.pip("download", *options, "--dest", str(target.parent), "-r", str(wanted))
            with tarfile.open(next(target.parent.glob(f"{package}-{version}.tar.gz"))) as archive:
                archive.extractall(target.parent, filter="data")
        return target

    def pip(self, *arguments: str) -> None:
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
        if subprocess.run(command, check=False).returncode:
            raise PeerError(f"pip {arguments[0]} failed")


def prepare() -> Environment:
    """The environment as the requirements want it; made afresh when they have changed."""
    environment = Environment(FOLDER)
    stamp = FOLDER / "made-from"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        print("Setting up .venv-peers (once)...", file=sys.stderr)
        venv.create(FOLDER, with_pip=True, clear=True, symlinks=True)
        environment.pip("install", "--require-hashes", "-r", str(REQUIREMENTS))
        stamp.write_text(digest)
    return environment
