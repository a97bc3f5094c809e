"""Takes a changed file into a running program: what is live at once, and a word in the log about what is not.

A file with mistakes is refused whole, and the former settings stay in force.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar

from broker.events import event
from configs.loader import ConfigError, load
from configs.reloading import Change, changes, same_place, with_live
from configs.section import Section

log = logging.getLogger(__name__)

LOOK_S = 1.0

S = TypeVar("S", bound=Section)
Stamp = tuple[int, int, int]


class Watch(Generic[S]):
    """One file, read when made. `in_force`: what the program runs with. Raises ConfigError when made."""

    def __init__(self, path: Path, schema: type[S]) -> None:
        self._path = path
        self._schema = schema
        self._taken = self._seen = _stamp(path)  # before it is read: what is written meanwhile is noticed
        self._read = self.in_force = load(path, schema)

    def due(self) -> bool:
        """Whether the file is another one than was read, and has come to rest: a half-written one is left alone."""
        stamp = _stamp(self._path)
        at_rest, self._seen = stamp == self._seen, stamp
        return at_rest and stamp is not None and stamp != self._taken

    def reload(self) -> tuple[Change, ...]:
        """Read the file; the live changes, which are in `in_force` then. Everything else is said in the log."""
        self._taken = self._seen = _stamp(self._path)
        try:
            new = load(self._path, self._schema)
        except ConfigError as error:
            for problem in error.problems:
                event(log, logging.ERROR, "config_refused", problem=problem)
            return ()
        changed, wanted = changes(self._read, new), changes(self.in_force, new)
        self._read = new
        in_force = with_live(self.in_force, wanted)
        live = tuple(change for change in wanted if change.live) if in_force is not None else ()
        if in_force is not None:
            self.in_force = in_force
        taken = {change.key for change in live}
        self._tell_rest([change for change in changed if change.key not in taken], new)
        if not changed and not live:
            event(log, logging.INFO, "config_unchanged", file=self._path)
        return live

    def _tell_rest(self, changed: Sequence[Change], new: S) -> None:
        """Log what was not taken: because it waits for a restart, or because it is what the program has anyway."""
        waiting = [change.key for change in changes(self.in_force, new)]
        for change in changed:
            if any(same_place(change.key, key) for key in waiting):
                event(log, logging.WARNING, "setting_needs_restart", key=change.key, new=change.new)
            else:
                event(log, logging.INFO, "setting_as_in_force", key=change.key, new=change.new)

    @asynccontextmanager
    async def followed(self, apply: Callable[[S], None]) -> AsyncIterator[None]:
        """While the body runs, hand changed settings to `apply`: after seconds, or at once on SIGHUP.

        A defect in it is an event `config_not_followed`, and the body goes on with the settings that it has.
        """
        hangup, loop = asyncio.Event(), asyncio.get_running_loop()
        former = signal.getsignal(signal.SIGHUP)
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        following = asyncio.create_task(self.follow(apply, hangup), name="config")
        following.add_done_callback(self._tell_end)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, former)
            following.cancel()
            await asyncio.wait({following})

    async def follow(self, apply: Callable[[S], None], hangup: asyncio.Event) -> None:
        """The same until cancelled, with `hangup` in place of the signal."""
        while True:
            try:
                await asyncio.wait_for(hangup.wait(), LOOK_S)
            except TimeoutError:
                if not await asyncio.to_thread(self.due):
                    continue
            hangup.clear()
            if live := await asyncio.to_thread(self.reload):
                told = _tell(live)
                apply(self.in_force)
                if not told:  # the log may say more, or less, from now on: one of both says what changed
                    _tell(live)

    def _tell_end(self, following: asyncio.Task[None]) -> None:
        if not following.cancelled() and (error := following.exception()) is not None:
            mend = "report this; changes of the file take effect with the next start"
            event(log, logging.ERROR, "config_not_followed", file=self._path, reason=repr(error), mend=mend)
            log.error("config_not_followed", exc_info=error)


def _stamp(path: Path) -> Stamp | None:
    """What changes when a file does; None while there is none, as while an editor replaces it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _tell(live: Sequence[Change]) -> bool:
    """Log what changed; False where the log's level hides it."""
    for change in live:
        event(log, logging.INFO, "setting_changed", key=change.key, old=change.old, new=change.new)
    return log.isEnabledFor(logging.INFO)
