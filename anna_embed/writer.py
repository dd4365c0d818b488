"""One writer at a time: a run killed with -9 may leave a child at work, and two must not write into one folder."""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from anna_embed.parsing import RecipeError

LOCK = ".lock"  # in the folder that is written into; the operating system gives it back when its holder dies


def wait_for(name: str, folder: Path) -> None:
    """Waits while another process writes into `folder`; says so, and which one."""
    other = _other_writer(folder)
    if other:
        print(f"{name}: process {other} is writing {folder}; waiting for it to end", flush=True)
        with (folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)


def claim(name: str, folder: Path) -> TextIO | None:
    """Makes this process the writer of `folder` until what is returned is closed; None where files cannot be locked.

    Raises:
        [`RecipeError`]: another process is.
    """
    other = _other_writer(folder)
    if other:
        raise RecipeError(f"{name}: process {other} is writing '{folder}'; wait for it to end, or stop it, then run "
                          "the same command again.")
    lock = (folder / LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a file system without locks, or this very process holds it
        lock.close()
        return None
    lock.truncate(0)
    print(os.getpid(), file=lock, flush=True)
    return lock


def _other_writer(folder):
    """The id of the other process that holds the lock; None if there is none."""
    try:
        with (folder / LOCK).open("r+") as lock:
            holder = lock.read().strip()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None if holder == str(os.getpid()) else holder or "another"
    except OSError:  # no such folder or file, or a file system without locks
        pass
    return None
