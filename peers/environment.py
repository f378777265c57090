"""The environments of the peers: folders of `.venv-peers`, each made from its locked requirements when they change."""

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
REQUIREMENTS: Final = ROOT / "requirements"
# For one command of pip's or npm's, downloads included.
PATIENCE: Final = 600.0


class PeerError(Exception):
    """Nothing could be said about a peer, because it could not be run."""


class Environment(Struct, frozen=True):
    folder: Path
    requirements: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def source(self, package: str) -> Path:
        """The unpacked source distribution of a locked package, where its own tests are."""
        pin = re.search(
            rf"^{package}(?:\[[^]]*\])?==(\S+)((?: \\\n +--hash=\S+)+)", self.requirements.read_text(), re.MULTILINE
        )
        if pin is None:
            raise PeerError(f"{package} is not in {self.requirements.name}")
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
        """Our own pip for their interpreter: an environment without one is made in a moment."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check", "--quiet"]
        done = subprocess.run([*command, *arguments], check=False, timeout=PATIENCE)
        if done.returncode:
            raise PeerError(f"pip {arguments[0]} failed for {self.requirements.name}")

    def install(self, uv: Path | None) -> None:
        """By uv where there is one, which takes a tenth of pip's time; pip may know mirrors that uv does not."""
        if uv is not None:
            command = [str(uv), "pip", "install", "--python", str(self.python), "--require-hashes"]
            command += ["--quiet", "-r", str(self.requirements)]
            if not subprocess.run(command, check=False, timeout=PATIENCE).returncode:
                return
            print(f"uv could not install {self.requirements.name}; pip tries", file=sys.stderr)
        self.pip("install", "--require-hashes", "-r", str(self.requirements))


def prepare(name: str, uv: Path | None = None) -> Environment:
    """The environment that requirements/<name>.txt wants; made afresh when that has changed."""
    environment = Environment(FOLDER / name.replace("/", "-"), REQUIREMENTS / f"{name}.txt")
    stamp = environment.folder / "made-from"
    digest = hashlib.sha256(environment.requirements.read_bytes() + sys.version.encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"Setting up {environment.folder.relative_to(ROOT)} (once)...", file=sys.stderr)
        venv.create(environment.folder, clear=True, symlinks=True)
        environment.install(uv)
        stamp.write_text(digest)
    return environment
