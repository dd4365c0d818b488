"""Whole releases: the artifacts name each other by commit, and a plan says exactly what will happen."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import HfApi
from small_release import change, describe, publish

from anna_embed.hub.plan import plan_release
from anna_embed.hub.publish import release, tie_together
from anna_embed.hub.retries import attempts
from anna_embed.parsing import RecipeError

PAIRS, TRIPLETS = ("datasets", "tester/anna-pairs"), ("datasets", "tester/anna-triplets")


def parents(hub, repo, tag):
    return json.loads(hub.read(repo, tag, "manifest.json"))["parents"]


def test_a_child_names_its_parents_commit(hub, client, artifacts):
    """If this fails, nobody can tell which state of a repository the published triplets were made from."""
    publish(artifacts)
    commit = hub.repos[PAIRS].tags["v1"]
    assert parents(hub, TRIPLETS, "v1")["pairs"]["commit"] == commit
    assert parents(hub, TRIPLETS, "v1")["pairs"]["published_as"] == "tester/anna-pairs@v1"
    assert f"| pairs | `tester/anna-pairs@v1` | commit `{commit[:12]}` |" in hub.read(TRIPLETS, "v1", "README.md")
    change(artifacts)
    publish(artifacts, tag="v2")
    assert parents(hub, TRIPLETS, "v2")["pairs"]["commit"] == hub.repos[PAIRS].tags["v2"] != commit
    written = len(hub.writes())
    publish(artifacts, tag="v2")
    assert [request for request in hub.writes()[written:] if "collections" not in request] == []


def test_one_after_the_other_is_as_both_at_once(hub, client, artifacts):
    """If this fails, `--names triplets` forgets where the pairs are, and the whole release cannot follow under its
    tag."""
    publish(artifacts, "pairs")
    publish(artifacts, "triplets")
    assert parents(hub, TRIPLETS, "v1")["pairs"]["commit"] == hub.repos[PAIRS].tags["v1"]
    publish(artifacts)
    assert all(repo.history() == ["Release v1", "initial commit"] for repo in hub.repos.values())


def test_a_parent_that_is_not_published(hub, client, artifacts):
    """If this fails, triplets name a repository that holds other pairs, or none."""
    publish(artifacts, "triplets")
    assert "published_as" not in parents(hub, TRIPLETS, "v1")["pairs"]
    publish(artifacts, "pairs", tag="v2")
    change(artifacts)
    publish(artifacts, "triplets", tag="v2")  # made from other pairs than those with this tag
    assert "published_as" not in parents(hub, TRIPLETS, "v2")["pairs"]


def test_a_parent_that_was_made_again(hub, client, artifacts):
    """If this fails, a release pairs triplets with rows that they were not mined from."""
    manifest = json.loads((artifacts / "triplets/manifest.json").read_text())
    manifest["parents"]["pairs"] |= {"reference": str(artifacts / "pairs"), "digest": "0" * 64}
    (artifacts / "triplets/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RecipeError, match="was made from another .*pairs' than the one that is there now"):
        publish(artifacts)
    assert hub.writes() == []


def test_an_adapter_of_a_model_that_nobody_else_has(hub, client, artifacts, tmp_path):
    """If this fails, the adapter on the Hub asks everyone for a folder of the publisher's machine."""
    config = artifacts / "triplets/adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))
    describe(artifacts / "triplets")
    with pytest.raises(RecipeError, match=f"names the base model '{tmp_path}', which is a path of this machine"):
        publish(artifacts)
    assert hub.writes() == []


def test_no_path_of_this_machine_leaves(hub, client, artifacts):
    """If this fails, the release tells strangers how the publisher's disk is laid out, and whose it is."""
    manifest = artifacts / "triplets/manifest.json"
    text = json.loads(manifest.read_text())
    text["config"] |= {"path": "/home/me/rows.jsonl", "command": "python -m x --mirror /home/me/mirror --seed 3"}
    text["command"] = "python -m x --mirror '/home/me/Dropbox (Acme)/mirror' --mirror=~/me/other --seed 3"
    text["dropped"] = [{"task": "NQ", "reason": "text occurs in the test set /home/me/my/test.jsonl", "rows": 3}]
    text["tasks"] = {name: task | {"instruction": "Find files under /etc/ssh/ that"}
                     for name, task in text["tasks"].items()}
    manifest.write_text(json.dumps(text))
    publish(artifacts)
    assert "Find files under /etc/ssh/ that" in hub.read(TRIPLETS, "v1", "manifest.json")  # what the model is told
    out = hub.read(TRIPLETS, "v1", "manifest.json") + hub.read(TRIPLETS, "v1", "README.md")
    assert "Acme" not in out and "--mirror mirror --mirror=other --seed 3" in out
    assert "/home" not in out and "--mirror mirror --seed 3" in out and "in the test set test.jsonl" in out


def test_what_others_added_to_a_card_stays(hub, client, artifacts):
    """If this fails, a release opens a repository whose owner had set terms of access, or undoes their thumbnail."""
    publish(artifacts, "pairs")
    repo = hub.repos[PAIRS]
    added = "extra_gated_prompt: Agree to this.\nthumbnail: a.png\nconfigs:"
    text = hub.read(PAIRS, "main", "README.md").replace("configs:", added)
    HfApi().upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id="tester/anna-pairs",
                        repo_type="dataset")
    change(artifacts)
    publish(artifacts, "pairs", tag="v2")
    card = hub.read(PAIRS, "v2", "README.md")
    assert "extra_gated_prompt: Agree to this.\nthumbnail: a.png\n---\n\n# anna-pairs" in card
    assert 'revision="v2"' in card and card.count("configs:") == 1
    publish(artifacts, "pairs", tag="v2")
    assert len(repo.commits) == 4 and repo.history()[:2] == ["Release v2", "Upload README.md with huggingface_hub"]


def test_a_dry_run_says_exactly_what_happens(hub, client, artifacts, capsys):
    """If this fails, `--dry_run` publishes, or what it lists is not what publishing does."""
    check_dry_run(hub, artifacts, "v1", capsys)
    publish(artifacts, dry_run=True)
    assert capsys.readouterr().out.count("nothing: tag v1 holds exactly this, at commit") == 2
    change(artifacts)
    renamed = artifacts / "triplets/NQ/validation-00000-of-00001.parquet"
    (artifacts / "triplets/NQ/train-00000-of-00001.parquet").replace(renamed)
    manifest = artifacts / "triplets/manifest.json"
    manifest.write_text(manifest.read_text().replace('"train', '"validation').replace("/train", "/validation"))
    describe(artifacts / "triplets")
    said = check_dry_run(hub, artifacts, "v2", capsys)
    assert "  remove  NQ/train-00000-of-00001.parquet" in said and "  change  manifest.json" in said


def check_dry_run(hub, artifacts, tag, capsys):
    """Compares what a dry run says with what the commits then do; returns what it says."""
    before = {name: dict(repo.resolve("main")["files"]) for name, repo in hub.repos.items()}
    written = len(hub.writes())
    publish(artifacts, tag=tag, dry_run=True)
    said = capsys.readouterr().out
    assert len(hub.writes()) == written and said.splitlines()[-1] == f"collection 'anna {tag}' of 2"
    publish(artifacts, tag=tag)
    for repo in (PAIRS, TRIPLETS):
        part = re.search(rf"^{repo[1]} \((.*)\)$((?:\n  .*)*)", said, re.M)
        assert part[1] == "private dataset" + ("" if before else ", would be created")
        old, new = before.get(repo, {}), hub.repos[repo].resolve(tag)["files"]
        sent = [name for name in sorted(new) if name != ".gitattributes" and old.get(name) != new[name]]
        lines = [f"  change  {name}  {new[name]['size']:,} bytes (now {old[name]['size']:,})" if name in old else
                 f"  upload  {name}  {new[name]['size']:,} bytes" for name in sent]
        lines += [f"  remove  {name}  {old[name]['size']:,} bytes" for name in sorted(old.keys() - new.keys())]
        lines += [f"  {len(sent)} files, {sum(new[name]['size'] for name in sent):,} bytes to upload, "
                  f"{len(old.keys() - new.keys())} to remove, {len(new) - 1 - len(sent)} unchanged; then tag {tag}"]
        assert part[2].splitlines()[1:] == lines
    capsys.readouterr()
    return said


def test_a_dry_run_without_a_token(hub, client, artifacts, monkeypatch, capsys):
    """If this fails, nobody can see what would be published before they have an account."""
    monkeypatch.setenv("HF_TOKEN", "")
    publish(artifacts, dry_run=True)
    assert capsys.readouterr().out.count("the Hub was not asked what it holds: there is no token") == 2
    assert hub.log == []


# ---- several at once ---------------------------------------------------------------------------------------------

def test_publishers_at_once(hub, client, artifacts):
    """If this fails, two runs of one release fight: one gives up, or the second commits the same once more."""
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(publish, artifacts) for _ in range(4)]:
            future.result()
    for name in (PAIRS, TRIPLETS):
        assert hub.repos[name].history() == ["Release v1", "initial commit"]
        assert hub.repos[name].tags == {"v1": hub.repos[name].head}
    assert [len(collection["items"]) for collection in hub.collections.values()] == [2]


def test_two_releases_at_once(hub, client, artifacts, tmp_path):
    """If this fails, of two releases that overlap one is lost, or each tag names some of the other's files."""
    import shutil

    other = shutil.copytree(artifacts, tmp_path / "other")
    change(other)
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(publish, artifacts), pool.submit(publish, other, tag="v2")]:
            future.result()
    for tag, run in (("v1", artifacts), ("v2", other)):
        for repo, name in ((PAIRS, "pairs"), (TRIPLETS, "triplets")):
            content = json.loads((run / name / "manifest.json").read_text())["content"]
            assert json.loads(hub.read(repo, tag, "manifest.json"))["content"] == content
        assert parents(hub, TRIPLETS, tag)["pairs"]["commit"] == hub.repos[PAIRS].tags[tag]
    for repo in (PAIRS, TRIPLETS):
        assert sorted(hub.repos[repo].history()) == ["Release v1", "Release v2", "initial commit"]


def test_another_commit_in_between(hub, client, artifacts):
    """If this fails, a release is given up, or overwrites unseen what another commits meanwhile."""
    publish(artifacts, "pairs")
    change(artifacts)
    hub.faults.add(match="/commit/", times=1, status=412)
    publish(artifacts, "pairs", tag="v2")
    assert hub.repos[PAIRS].history() == ["Release v2", "Release v1", "initial commit"]


# ---- the collection ----------------------------------------------------------------------------------------------

def test_a_collection_is_a_convenience(hub, client, artifacts):
    """If this fails, a complete release ends in an error because a list of links could not be made."""
    plans = plan_release(str(artifacts), ["pairs"], "tester", "anna", "v1")
    release(plans)
    hub.faults.add(match="/api/collections", status=403)
    assert tie_together("anna v1", plans).startswith("none (HfHubHTTPError); the release is complete without it")
    hub.faults.clear()
    assert tie_together("anna v1", plans) == tie_together("anna v1", plans)
    assert [len(c["items"]) for c in hub.collections.values()] == [1]
    next(iter(hub.collections.values()))["private"] = False
    assert tie_together("anna v1", plans).endswith("is there, and public")


def test_retry_after_as_a_date(monkeypatch):
    """If this fails, a Hub that says until when to wait is asked again at once, or never."""
    from email.utils import format_datetime
    from datetime import datetime, timedelta, timezone

    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    for header in (format_datetime(datetime.now(timezone.utc) + timedelta(seconds=60), usegmt=True), "nonsense"):
        response = httpx.Response(503, headers={"Retry-After": header}, request=httpx.Request("GET", "http://x"))
        with next(attempts()):
            raise HfHubHTTPError("busy", response=response)
    assert 50 < pauses[0] <= 60 and pauses[1] == 1
