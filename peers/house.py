"""A Posthouse as its own process, in front of given providers."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from peers.environment import PeerError

KEY: Final = "sk-ph-admin-key-of-the-peers-0123456789"
LOG: Final = "posthouse.log"
UP: Final = re.compile(r"is up: (http://\S+)")


class House(Struct, frozen=True):
    url: str
    key: str


@contextmanager
def running(settings: str, folder: Path) -> Iterator[House]:
    """`settings` is the whole of its posthouse.toml."""
    config = folder / "posthouse.toml"
    config.write_text(settings)
    command = [str(Path(sys.executable).with_name("posthouse")), "serve", "--port", "0"]
    command += ["--config", str(config), "--data", str(folder / "data")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTHOUSE_")}
    log = (folder / LOG).open("wb")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, env={**kept, "POSTHOUSE_ADMIN_KEY": KEY}, cwd=folder
    )
    try:
        yield House(_address(process, folder), KEY)
    finally:
        process.terminate()
        try:
            status = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise PeerError("posthouse did not end within a minute of SIGTERM") from None
        finally:
            log.close()
    if status:
        raise PeerError(f"posthouse exited with {status}")


def end_of_log(folder: Path, lines: int = 40) -> str:
    """What the log says besides its line for each request; empty where that is nothing."""
    log = (folder / LOG).read_text(errors="replace").splitlines()
    said = [line for line in log if '"event":"request"' not in line]
    return "the end of Posthouse's log:\n" + "\n".join(said[-lines:]) if said else ""


def _address(process: subprocess.Popen[str], folder: Path) -> str:
    """What the greeting says; the rest of the output is read and dropped, so that the house never waits for us."""
    for line in process.stdout or ():
        found = UP.search(line)
        if found is not None:
            threading.Thread(target=process.communicate, daemon=True).start()
            return found[1]
    raise PeerError("posthouse did not start:\n" + (folder / LOG).read_text(errors="replace"))
