"""Bounded retries around the Hub calls that the client gives up on at the first failure."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx, parse_ratelimit_headers

PAUSES = (1, 2, 4, 8, 16)  # seconds; one attempt more than there are pauses
LONGEST = 330  # the Hub counts requests over windows of five minutes
TRANSIENT = (408, 429, 500, 502, 503, 504)
LOST_RACE = (409, 412)
WRAPPERS = (RuntimeError, LocalEntryNotFoundError)  # what the client makes of a failed upload or download


def transient(error: BaseException | None, also: tuple[int, ...] = ()) -> bool:
    """Whether the same call may succeed later: never after 400, 401, 403 or 404."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (*TRANSIENT, *also)
    if isinstance(error, WRAPPERS):
        return transient(error.__cause__, also)
    # A gateway's error page is not JSON, and the client reads the body before the status.
    return isinstance(error, (httpx.TransportError, json.JSONDecodeError))


def unwrapped(error: BaseException) -> BaseException:
    """What really happened, where the client has put it into an error of its own."""
    return error.__cause__ if isinstance(error, WRAPPERS) and error.__cause__ else error


class Attempt:
    """A `with` block that swallows a failure if there is another attempt to come, after waiting for it."""

    def __init__(self, pause: float | None, also: tuple[int, ...]):
        self.pause, self.also = pause, also

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, kind, error, trace) -> bool:
        if error is None or self.pause is None or not transient(error, self.also):
            return False
        seconds = _asked(error, self.pause)
        print(f"the Hub: {_reason(error)}; trying again in {seconds:g} s", file=sys.stderr, flush=True)
        time.sleep(seconds)
        return True


def attempts(also: tuple[int, ...] = ()) -> Iterator[Attempt]:
    """`for attempt in attempts(): with attempt: ...`, to be left by `return`; the last failure is raised.

    Args:
        also (`tuple[int]`): Further statuses after which the block, which reads the Hub anew, is run again.
    """
    for pause in (*PAUSES, None):
        yield Attempt(pause, also)


def retried(call: Callable, *args: Any, **kwargs: Any) -> Any:
    """`call(*args, **kwargs)`, for calls that do no harm when they are made twice."""
    for attempt in attempts():
        with attempt:
            return call(*args, **kwargs)


def _asked(error, pause):
    """What the Hub asks to wait, or our own pause."""
    error = unwrapped(error)
    headers = error.response.headers if isinstance(error, HfHubHTTPError) else {}
    limit, after = parse_ratelimit_headers(headers), headers.get("Retry-After", "")
    if limit is not None and limit.remaining == 0 and error.response.status_code == 429:
        return min(LONGEST, limit.reset_in_seconds + 1)
    return pause if not after else min(LONGEST, max(0, _seconds(after, pause)))


def _seconds(after, pause):
    """`Retry-After` in both of its forms, a number or a date; what is neither is no reason to stop."""
    try:
        return int(after) if after.isdigit() else parsedate_to_datetime(after).timestamp() - time.time()
    except ValueError:
        return pause


def _reason(error):
    cause = unwrapped(error)
    return cause.response.status_code if isinstance(cause, HfHubHTTPError) else type(cause).__name__
