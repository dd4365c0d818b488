"""Who publishes, and each failure of the Hub in one sentence."""

from contextlib import contextmanager

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from anna_embed.hub.retries import retried
from anna_embed.parsing import RecipeError


def check_account(namespace: str) -> None:
    """Makes sure, before anything is written, that a token is there and may write to `namespace`.

    Raises:
        [`RecipeError`]: no token, one that the Hub does not know, one that may only read, or another's namespace.
    """
    if not get_token():
        raise RecipeError("HF_TOKEN: there is no token; log in with `hf auth login`, or set HF_TOKEN to a token with "
                          "write access.")
    with hub_failures(namespace):
        user = retried(HfApi().whoami)
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise RecipeError(f"HF_TOKEN: the token of '{user['name']}' may only read; make one with write access in your "
                          "account's settings, and log in with it (`hf auth login`).")
    groups = {org["name"]: org.get("roleInOrg") for org in user.get("orgs", [])}
    if namespace != user["name"] and groups.get(namespace, "read") == "read":
        raise RecipeError(f"namespace: '{user['name']}' may not write to '{namespace}'; name one of "
                          f"{', '.join([user['name'], *(name for name, role in groups.items() if role != 'read')])}.")


@contextmanager
def hub_failures(place: str, state: str = "nothing was written"):
    """Turns what the client raises into a sentence that says how things stand and what to do."""
    try:
        yield
    except RecipeError:
        raise
    except HfHubHTTPError as error:
        raise RecipeError(_sentence(place, state, error)) from None
    except OfflineModeIsEnabled:
        raise RecipeError("HF_HUB_OFFLINE: publishing needs the Hub, which this variable forbids; unset it.") from None
    except (httpx.HTTPError, ConnectionError, RuntimeError, ValueError) as error:  # Xet raises ConnectionError itself
        what = " ".join(f"{type(error.__cause__ or error).__name__}: {error}".split())
        raise RecipeError(f"{place}: the exchange with {constants.ENDPOINT} broke off ({what}); {state}; run the same "
                          "command again.") from None


def _sentence(place, state, error):
    status = error.response.status_code
    said = " ".join((error.server_message or error.response.reason_phrase).split()).rstrip(".")
    if status == 401:
        return (f"HF_TOKEN: {constants.ENDPOINT} does not know this token; {state}; make a new one in your account's "
                "settings, and log in with it (`hf auth login`).")
    if status == 403:
        return f"HF_TOKEN: this token may not write to '{place}' ({said}); {state}; use one that may."
    if status in (400, 404, 413):
        return f"{place}: the Hub refused this ({status}: {said}); {state}; mend it and run the same command again."
    return f"{place}: the Hub failed ({status}: {said}); {state}; run the same command again, it continues."
