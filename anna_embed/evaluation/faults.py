"""A faulty copy of a task's data, told in one sentence and not in a traceback through mteb."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import httpx

from anna_embed.parsing import RecipeError, in_short

NOT_THERE = (httpx.HTTPError, LocalEntryNotFoundError, ConnectionError)  # the Hub does not answer
FAULTS = (ValueError, TypeError, KeyError, FileNotFoundError, pyarrow.ArrowException, DatasetsError)


@contextmanager
def faults_of(name: str, path: str, is_innocent: Callable[[], bool]) -> Iterator[None]:
    """Turns what a task's data makes `datasets` or mteb raise into a sentence.

    mteb's counting of texts and labels stumbles over most faults; too few rows, or labels, show in the scoring only.

    Args:
        name (`str`), path (`str`): The task, and where its data is.
        is_innocent (`Callable`): Whether the data has nothing to do with an error: it is raised as it is.

    Raises:
        [`RecipeError`]: the Hub does not give the data, or mteb cannot make a score of this copy of it.
    """
    try:
        yield
    except (*NOT_THERE, *FAULTS) as error:
        cause = error.__cause__ or error
        if is_innocent():
            raise
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            raise cause from None
        if isinstance(error, NOT_THERE):
            raise RecipeError(f"tasks: the Hub did not give the data of {name} ({in_short(error)}); what is finished "
                              "is kept: run the same command again, or give --mirror.") from None
        what = f"{type(cause).__name__}: {in_short(cause)}"
        raise RecipeError(f"tasks: {name}: its data in '{path}' cannot be read or scored ({what}); fetch it again, or "
                          "leave the task out.") from None
