"""The publish command in processes of its own, forked from one that has imported what the command needs."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import constants
from recipes import publish as recipe

from anna_embed.config import PublishConfig
from anna_embed.parsing import one_sentence, parse

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["trl", "datasets", "recipes.publish", "anna_embed.hub.publish"])


class Publisher(FORKS.Process):
    """`python -m recipes.publish` against a loopback Hub; started at once.

    Args:
        log (`Path`): Takes what it prints.
    """

    def __init__(self, hub, artifacts: Path, tag: str, xet: bool, log: Path):
        self.log = log
        kept = {name: value for name, value in os.environ.items() if name.startswith("HF_XET_")}
        # A port may come again in another test, and what Xet remembers of its Hub would not be on this one.
        kept |= {"HF_XET_CACHE": str(log.parent / "xet"), "TQDM_DISABLE": "1"}
        environment = {**hub.env(log.parent / "home", xet=xet), **kept}
        argv = ["--artifacts", str(artifacts), "--namespace", "tester", "--tag", tag]
        super().__init__(target=_publish, args=(argv, environment, str(log)), daemon=True)
        self.start()

    def said(self) -> str:
        """The last line that it printed."""
        return self.log.read_text().splitlines()[-1]


def watch(hub, publishers: list[Publisher], check: Callable[[], None], requests: float = float("inf")) -> None:
    """Checks what readers see after every request, until there were so many or all publishers have ended."""
    checked = None
    while len(hub.log) < requests and any(publisher.is_alive() for publisher in publishers):
        if checked != (checked := len(hub.log)):
            check()
        time.sleep(0.002)
    check()


def _publish(argv, environment, log):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(descriptor, stream.fileno())
    os.environ.update(environment)  # the client has read its variables when it was imported: these are its own names
    constants.ENDPOINT = environment["HF_ENDPOINT"]
    constants.HUGGINGFACE_CO_URL_TEMPLATE = f"{constants.ENDPOINT}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    constants.HF_HUB_DISABLE_XET = environment["HF_HUB_DISABLE_XET"] == "1"
    constants.HF_HUB_OFFLINE = False
    with one_sentence():
        config, given = parse(PublishConfig, argv)
        recipe.main(config)
