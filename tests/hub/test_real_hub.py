"""The real Hub, on demand: `HF_TOKEN=... make test-hub` creates, checks and deletes its own private repositories."""

import secrets
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_token
from recipes import publish as recipe
from small_models import make_base, make_rest

from anna_embed.config import PublishConfig
from anna_embed.artifacts import ARTIFACTS
from anna_embed.hub.names import repo_type

NAMED = {"name": "HuggingFaceTB/SmolLM2-135M-Instruct", "licence": "apache-2.0"}  # a base that the real Hub has


@pytest.mark.network
def test_a_release_on_the_real_hub(artifacts, tmp_path):
    """If this fails, the loopback Hub of the other tests is not like the real one in something that matters."""
    if not get_token():
        pytest.skip("HF_TOKEN: there is no token; set it to one with write access, or log in with `hf auth login`")
    make_base(tmp_path / "base")
    make_rest(artifacts, tmp_path / "base", NAMED)
    api, prefix, cache = HfApi(), f"anna-test-{secrets.token_hex(4)}", tmp_path / "cache"
    namespace = api.whoami()["name"]
    config = PublishConfig(artifacts=str(artifacts), namespace=namespace, prefix=prefix)
    repos = [{"repo_id": f"{namespace}/{prefix}-{name}", "repo_type": repo_type(name)} for name in ARTIFACTS]
    try:
        recipe.main(config)
        commits = [api.repo_info(**repo).sha for repo in repos]
        recipe.main(config)
        for repo, commit in zip(repos, commits):
            info = api.repo_info(**repo)
            assert info.private and info.sha == api.repo_info(**repo, revision="v1").sha == commit
            api.snapshot_download(**repo, revision=commit, cache_dir=cache)
            found = api.verify_repo_checksums(**repo, revision=commit, cache_dir=cache)
            assert (found.mismatches, found.missing_paths, found.extra_paths) == ([], [], [])
        made = collections(api, namespace, prefix)
        assert [(c.private, len(api.get_collection(c.slug).items)) for c in made] == [(True, len(repos))]
    finally:
        for repo in repos:
            api.delete_repo(**repo, missing_ok=True)
        for collection in collections(api, namespace, prefix):
            api.delete_collection(collection.slug)
    assert not any(api.repo_exists(**repo) for repo in repos) and not collections(api, namespace, prefix)


def collections(api, namespace, prefix):
    return [made for made in api.list_collections(owner=namespace) if made.title.startswith(prefix)]


@pytest.mark.slow
def test_the_test_above_on_a_loopback_hub(hub, run):
    """If this fails, `make test-hub` does not say what it needs, finds nothing, or leaves repositories behind."""
    command = ("-m", "pytest", "-m", "network", "-rs", "-p", "no:cacheprovider", __file__)
    without = run(*command, token="", cwd=Path(__file__).parents[2])
    assert without.returncode == 0 and "1 skipped" in without.stdout and hub.log == []
    assert "HF_TOKEN: there is no token; set it to one with write access, or log in" in without.stdout
    done = run(*command, cwd=Path(__file__).parents[2])
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
    assert hub.repos == {} and hub.collections == {}
    assert len([request for request in hub.writes() if request == "POST /api/repos/create"]) == len(ARTIFACTS)
    hub.faults.add(match="POST .*/commit/", after=3, status=400)  # a failure in the midst of it
    assert "1 failed" in run(*command, cwd=Path(__file__).parents[2]).stdout
    assert hub.repos == {} and hub.collections == {}
