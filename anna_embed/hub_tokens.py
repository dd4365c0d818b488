"""Access tokens of the Hub: what they look like, so that none is printed, and none leaves this machine in a file."""

import re

TOKEN = re.compile(r"(hf_|hf_oauth_|api_org_)[A-Za-z0-9]{20,}")
KEYS = ("token", "hf_token", "hub_token", "access_token")  # under which people hand one over


def masked(text: str) -> str:
    """The text with the beginnings of tokens only."""
    return TOKEN.sub(r"\1...", text)
