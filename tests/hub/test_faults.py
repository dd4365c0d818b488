"""A failure at every request of a whole release, with and without Xet: readers see the old release or the new one."""

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars
from trial import Trial

FAULTS = {"500": {"status": 500}, "503": {"status": 503}, "429": {"status": 429, "headers": {"Retry-After": "7"}},
          "reset before": {"cut": "request"}, "reset after": {"cut": "response"}}
CASES = [("LFS", "update", name) for name in FAULTS] + [("Xet", "first", name) for name in ("503", "reset after")]


@pytest.mark.slow
@pytest.mark.parametrize("way, state, fault", CASES)
def test_down_from_request_k_on(hub, client, artifacts, talk_to, monkeypatch, way, state, fault):
    """If this fails, a Hub that goes down in the midst leaves half a release, a tag on nothing, a release that no
    rerun can complete, or one release in two commits."""
    disable_progress_bars()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", way == "LFS")
    trial = Trial(state == "first", hub, artifacts, talk_to)
    k, hits, rerun = 0, 1, set()
    while hits:
        with trial.case(after=k, **FAULTS[fault]) as rule:
            trial.publish()
            hits = rule["hits"]
            trial.check_readers()
            if trial.left() not in rerun:  # most requests only read: they leave the Hub as the one before did
                rerun.add(trial.left())
                trial.hub.faults.clear()
                assert trial.publish() is None
                trial.check_complete()
            k += 1
    print(f"{k} cases, {len(rerun)} of them left the Hub in another state")
