"""Who publishes, and each failure of the Hub in one sentence."""

from contextlib import contextmanager

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from anna_embed.hub.retries import retried, unwrapped
from anna_embed.parsing import RecipeError

USE_IT = "set HF_TOKEN to it or, where that is not set, log in with it (`hf auth login`)"  # HF_TOKEN goes before


def check_account(namespace: str) -> None:
    """Makes sure, before anything is written, that a token is there and may write to `namespace`.

    Raises:
        [`RecipeError`]: no token, one that the Hub does not know or cannot have made, one that may only read, or
            another's namespace.
    """
    if not get_token():
        raise RecipeError("HF_TOKEN: there is no token; log in with `hf auth login`, or set HF_TOKEN to a token with "
                          "write access.")
    if not get_token().isascii():
        raise RecipeError("HF_TOKEN: the token holds characters that no token of the Hub has; copy it again, and "
                          f"{USE_IT}.")
    with hub_failures(namespace):
        user = retried(HfApi().whoami)
    token = user.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise RecipeError(f"HF_TOKEN: the token of '{user['name']}' may only read; make one with write access in your "
                          f"account's settings, and {USE_IT}.")
    if token.get("role") == "fineGrained" and not _may_write(token.get("fineGrained", {}), namespace):
        raise RecipeError(f"HF_TOKEN: this fine-grained token of '{user['name']}' has no write access to the "
                          f"repositories of '{namespace}'; give it that in your account's settings, or use another.")
    groups = {org["name"]: org.get("roleInOrg") for org in user.get("orgs", [])}
    if namespace != user["name"] and groups.get(namespace, "read") == "read":
        raise RecipeError(f"namespace: '{user['name']}' may not write to '{namespace}'; name one of "
                          f"{', '.join([user['name'], *(name for name, role in groups.items() if role != 'read')])}.")


def _may_write(granted, namespace):
    """Whether a fine-grained token may write to the whole namespace, or to some repository in it."""
    return any("repo.write" in scope.get("permissions", [])
               and scope.get("entity", {}).get("name", "").partition("/")[0] == namespace
               for scope in granted.get("scoped", []))


@contextmanager
def hub_failures(place: str, state: str = "nothing was written"):
    """Turns what the client raises into a sentence that says how things stand and what to do."""
    try:
        yield
    except RecipeError:
        raise
    except OfflineModeIsEnabled:
        raise RecipeError("HF_HUB_OFFLINE: publishing needs the Hub, which this variable forbids; unset it.") from None
    except (httpx.HTTPError, LocalEntryNotFoundError, ConnectionError, RuntimeError, ValueError) as error:
        cause = unwrapped(error)
        if isinstance(cause, HfHubHTTPError):
            raise RecipeError(_sentence(place, state, cause)) from None
        what = " ".join(f"{type(cause).__name__}: {error}".split())  # Xet raises ConnectionError itself
        raise RecipeError(f"{place}: the exchange with {constants.ENDPOINT} broke off ({what}); {state}; run the same "
                          "command again.") from None


def _sentence(place, state, error):
    status = error.response.status_code
    said = " ".join((error.server_message or error.response.reason_phrase).split()).rstrip(".")
    if status == 401:
        return (f"HF_TOKEN: {constants.ENDPOINT} does not know this token; {state}; make a new one in your account's "
                f"settings, and {USE_IT}.")
    if status == 403:
        return f"HF_TOKEN: this token may not write to '{place}' ({said}); {state}; use one that may."
    if status in (400, 404, 413):
        return f"{place}: the Hub refused this ({status}: {said}); {state}; mend it and run the same command again."
    return f"{place}: the Hub failed ({status}: {said}); {state}; run the same command again, it continues."
