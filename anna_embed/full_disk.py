"""What a full disk looks like: some libraries do not pass the error's number on."""

import errno
import re

SAID = re.compile(r"No space left on device"  # safetensors
                  r"|\d+ requested and \d+ written"  # numpy
                  r"|unexpected pos \d+ vs")  # torch, as it closes the file


def is_of_a_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, says that a disk is full."""
    if error is None or "shared memory" in str(error):  # which is no disk
        return False
    return (getattr(error, "errno", None) == errno.ENOSPC or bool(SAID.search(str(error)))
            or is_of_a_full_disk(error.__context__))


def sentence(error: BaseException) -> str:
    """What the user is told of it."""
    name = getattr(error, "filename", None)
    what = f" while writing '{name}'" if name else ", of artifacts or of a cache (HF_HOME)"
    return f"the disk is full{what}; free some space and run the same command again: it continues where it stopped."
