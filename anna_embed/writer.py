"""One writer at a time: a run killed with -9 may leave a child at work, and two must not write into one folder."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from anna_embed.parsing import RecipeError

LOCK = ".lock"  # in the folder that is written into; the operating system gives it back when its holder dies
TOKEN = uuid4().hex  # beside the process id, which two containers on one volume may share
TRIES, PAUSE = 20, 0.05  # the pause in seconds


def put(partial: Path, path: Path) -> None:
    """Gives a file its name once its content is on the disk: after a power cut it is whole or not there."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.rename(path)


def wait_for(name: str, folder: Path) -> None:
    """Waits while another process writes into `folder`; says so, and which one."""
    other = _other_writer(folder)
    if other:
        print(f"{name}: process {_id_in(other)} is writing {folder}; waiting for it to end", flush=True)
        with suppress(FileNotFoundError), (folder / LOCK).open("a") as lock:  # it may have ended by now
            fcntl.flock(lock, fcntl.LOCK_EX)


def claim(name: str, folder: Path) -> TextIO | None:
    """Makes this process the writer of `folder` until what is returned is closed; None where files cannot be locked.

    Raises:
        [`RecipeError`]: another process is.
    """
    other = _other_writer(folder)
    if other:
        raise _is_written(name, other, folder)
    for _ in range(TRIES):
        folder.mkdir(parents=True, exist_ok=True)  # the other may have ended, and moved it away
        lock = (folder / LOCK).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            if _holder(folder) == _own_name():  # it is the writer already
                return None
            time.sleep(PAUSE)  # another process may only be looking whether somebody writes
            continue
        except OSError:  # a file system without locks
            lock.close()
            return None
        if is_at(lock, folder):
            lock.truncate(0)
            print(_own_name(), file=lock, flush=True)
            return lock
        lock.close()
    raise _is_written(name, _holder(folder), folder)


def _other_writer(folder):
    """The name of the other process that holds the lock; None if there is none."""
    try:
        with (folder / LOCK).open("r+") as lock:
            holder = lock.read().strip()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None if holder == _own_name() else holder or "another"
    except OSError:  # no such folder or file, or a file system without locks
        pass
    return None


def _holder(folder):
    try:
        return (folder / LOCK).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def is_at(lock, folder):
    """Whether an open lock is the one that lies there now."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), (folder / LOCK).stat())
    except OSError:
        return False


def _own_name():
    return f"{os.getpid()} {TOKEN}"


def _id_in(name):
    return name.partition(" ")[0] or "another"


def _is_written(name, other, folder):
    return RecipeError(f"{name}: process {_id_in(other)} is writing '{folder}'; wait for it to end, or stop it, then "
                       "run the same command again.")
