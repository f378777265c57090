"""Several processes behind one socket: each a whole server, which share limits and budgets as replicas do. (ADR 8)

The parent holds the socket and does nothing else: it starts the workers, passes signals on, and starts anew one that
died.
"""

import contextlib
import ctypes
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

import typer

logger = logging.getLogger("posthouse.workers")

MAX_WORKERS: Final = 256
_START: Final = 60.0  # seconds for the first worker: it brings the database up to date
_PR_SET_PDEATHSIG: Final = 1  # Linux's prctl.h
_PAUSE: Final = 1.0  # seconds before a worker that died is started again


def end_with_parent() -> None:
    """On Linux: a worker whose parent is killed drains and ends, instead of holding the socket for ever."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Workers:
    """`work(number, started)` is what a worker does; it calls `started` once it serves, and returns when it is told to
    stop."""

    def __init__(self, count: int, work: Callable[[int, Callable[[], None]], None]) -> None:
        self._count = count
        self._work = work
        self._pids: dict[int, int] = {}
        self._stopping = False

    def run(self) -> int:
        """Until a signal; the status to exit with."""
        for end in (signal.SIGTERM, signal.SIGINT):
            signal.signal(end, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        if not self._begin_first():
            self._stop(signal.SIGTERM, None)
            self._reap()
            return 1
        for number in range(1, self._count):
            self._begin(number)
        return self._reap()

    def _begin_first(self) -> bool:
        """The first worker alone, until it serves: what it makes (tables, the admin key) the others find."""
        reading, writing = os.pipe()
        self._begin(0, writing)
        os.close(writing)
        ready, _, _ = select.select([reading], [], [], _START)
        served = bool(ready) and os.read(reading, 1) == b"1"
        os.close(reading)
        return served

    def _begin(self, number: int, tell: int | None = None) -> None:
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            self._pids[pid] = number
            return
        status = 1
        try:
            end_with_parent()
            for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(one, signal.SIG_DFL)

            def started() -> None:
                if tell is not None:
                    os.write(tell, b"1")

            self._work(number, started)
            status = 0
        except typer.Exit as error:  # it has said why
            status = error.exit_code
        except BaseException:  # the top of a process: nothing may go on behind it in the copy of its parent
            logger.exception("worker %d failed", number)
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _reap(self) -> int:
        """Waits for the workers, and starts those again that were not told to stop."""
        worst = 0
        while self._pids:
            try:
                pid, how = os.wait()
            except ChildProcessError:
                break
            number = self._pids.pop(pid, None)
            if number is None:
                continue
            status = os.waitstatus_to_exitcode(how)
            if self._stopping:
                # One that the signal met before it served has died of it, and has nothing to finish.
                worst = worst or (0 if status in (0, -signal.SIGTERM) else 1)
                continue
            logger.error("worker %d ended with status %d; it is started again", number, status)
            time.sleep(_PAUSE)
            if not self._stopping:
                self._begin(number)
        return worst

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._pass_on(signal.SIGTERM, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        for pid in list(self._pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
