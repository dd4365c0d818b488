"""What a benchmark run scores: panels, benchmarks and tasks by name, and what a mirror does not hold."""

import pytest

from anna_embed.evaluation.panel import (DEV_PANEL, PANEL, Part, load_task, locate_parts, mean_of, parts_of,
                                         test_sets as sets_of)
from anna_embed.parsing import RecipeError


def test_a_benchmark_is_its_tasks():
    """If this fails, what is called MTEB(eng, v2) is another set of tasks, and its mean compares with nothing."""
    parts = parts_of([], "MTEB(eng, v2)", False, False)
    assert len(parts) == 41 and parts[0] == Part("ArguAna")
    assert [part.task for part in PANEL if part not in parts] == ["EmotionClassification", "SciFact"]


@pytest.mark.parametrize("name, splits, subsets", [
    ("MassiveIntentClassification", ["test"], ["en"]), ("STS17", ["test"], ["en-en"]),
    ("STS12", ["test"], ["default"]), ("MSMARCO", ["dev"], ["default"]),
    ("EmotionClassification", ["test"], ["default"])])
def test_english_and_the_test_split(name, splits, subsets):
    """If this fails, a score is the mean over fifty languages, or over test and validation rows."""
    task = load_task(Part(name))
    assert (list(task.eval_splits), list(task.hf_subsets)) == (splits, subsets)


def test_each_task_once_and_parts_by_their_names():
    """If this fails, a task that two keys ask for is run twice, or a part is taken for the whole."""
    parts = parts_of(["SciFact", "STS12"], None, True, True)
    assert len(parts) == len(PANEL) + len(DEV_PANEL) and parts[:2] == [Part("SciFact"), Part("STS12")]
    assert [part.name for part in DEV_PANEL] == [
        "STSBenchmark (validation)", "MassiveScenarioClassification (validation)",
        "SciFact (train, 200 queries, 400 documents)"]
    assert not any(part.split == "test" for part in DEV_PANEL)


def test_a_panel_is_what_the_mirror_holds(small_mirror, tmp_path):
    """If this fails, one missing dataset stops the panel, or a task that was asked for by name is left out quietly."""
    mirrors = [str(tmp_path), str(small_mirror)]
    assert [part.task for part in locate_parts(list(PANEL), mirrors)] == [
        "STSBenchmark", "Banking77Classification", "SciFact"]
    with pytest.raises(RecipeError, match="tasks: BIOSSES: no mirror holds the dataset 'mteb/biosses-sts'"):
        locate_parts([*PANEL, Part("BIOSSES")], mirrors)
    with pytest.raises(RecipeError, match="no mirror holds"):
        locate_parts(list(PANEL), [str(tmp_path)])


@pytest.mark.parametrize("keys, message", [
    ((["STSBenchmark", "STSBenchmrk"], None),
     "tasks: mteb has no task 'STSBenchmrk' [(]Did you mean: 'STSBenchmark'[?][)];"),
    ((["CQADupstackRetrieval"], None), "tasks: 'CQADupstackRetrieval' is the mean of several.*CQADupstackAndroid"),
    ((["SICK-R-PL"], None), "tasks: 'SICK-R-PL' has no English part"),
    (([], "MTEB(engl, v2)"), "benchmark: mteb has no benchmark 'MTEB[(]engl, v2[)]' .*MTEB"),
    ((["no such thing"], None), "tasks: mteb has no task 'no such thing'; `mteb")])
def test_names_that_mteb_does_not_know(keys, message, small_mirror):
    """If this fails, a typo among many tasks ends in a traceback after hours of encoding."""
    with pytest.raises(RecipeError, match=message):
        locate_parts(parts_of(*keys, False, False), [str(small_mirror)])


def test_a_named_task_is_not_left_out_because_a_panel_has_it(small_mirror):
    """If this fails, a task that was asked for by name is missing from the table, and only a line below says so."""
    named = ["STSBenchmark", "STS12"]
    with pytest.raises(RecipeError, match="tasks: STS12: no mirror holds the dataset"):
        locate_parts(parts_of(named, None, True, False), [str(small_mirror)], named)


def test_a_benchmark_with_the_mean_of_others():
    """If this fails, MTEB(eng, v1) and BEIR cannot be run, or CQADupstack counts twelve times in their mean."""
    parts = [part.task for part in parts_of([], "BEIR", False, False)]
    dup = [name for name in parts if name.startswith("CQADupstack")]
    assert len(parts) == 14 + 12 and len(dup) == 12
    records = [{"task": name, "value": 0.24 if name in dup else 0.5} for name in parts]
    records[-1]["note"] = "a part of mteb's data"
    (mean,) = mean_of("BEIR", records)
    assert mean["value"] == pytest.approx((14 * 0.5 + 0.24) / 15, abs=1e-6) and mean["n"] == 15
    assert mean["note"] == "some of them on data that is not mteb's, or was not checked"


def test_a_benchmark_of_other_languages_is_refused():
    """If this fails, the mean over the English parts is called that of the whole benchmark."""
    with pytest.raises(RecipeError, match="benchmark: 'NanoBEIR-multilingual' scores .* on the subsets ar, .*on en;"):
        parts_of([], "NanoBEIR-multilingual", False, False)


def test_test_sets_as_convert_takes_them():
    """If this fails, the audit reads another split than the one that is scored."""
    assert sets_of(Part("MassiveIntentClassification")) == [
        {"path": "mteb/amazon_massive_intent", "config": "en", "split": "test"}]
    assert sets_of(Part("STS12")) == [{"path": "mteb/sts12-sts", "split": "test"}]
    assert sets_of(Part("STSBenchmark", "validation"))[0]["split"] == "validation"


def test_the_mean_of_a_whole_benchmark_only():
    """If this fails, the mean of what a mirror holds is called that of the benchmark."""
    names = [part.task for part in parts_of([], "MTEB(eng, v2)", False, False)]
    records = [{"task": name, "value": n / 10} for n, name in enumerate(names)]
    (mean,) = mean_of("MTEB(eng, v2)", records)
    assert (mean["value"], mean["n"]) == (2.0, 41)
    assert mean_of("MTEB(eng, v2)", records[1:]) == [] == mean_of(None, records)
    assert mean["note"] is None
    assert mean_of("MTEB(eng, v2)", [*records, {"task": "Other", "value": 1, "note": "a part of it"}]) == [mean]
