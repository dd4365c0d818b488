"""`python -m recipes.run`: every stage in order, nothing twice, and an end that leaves everything to go on from."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import recipes.run
from recipes.run import overrides, run_stage, stages_of, types_of

from anna_embed.located import locate
from anna_embed.parsing import RecipeError

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "quickstart"


class FakeStage:
    """A stage whose script is not run: `done` are those that are up to date."""

    done: set

    def __init__(self, name, config):
        self.name, self.output = name, f"{config.artifacts}/{name}"

    @property
    def is_current(self):
        if self.name in self.done:
            Path(self.output).mkdir(parents=True, exist_ok=True)
            row = {"model": "trained model", "task": "BoolQ", "metric": "ndcg_at_10", "value": 0.9, "n": 3}
            manifest = {"stage": self.name, "seconds": 61.4, "table": [row]}
            Path(self.output, "manifest.json").write_text(json.dumps(manifest))
        return self.name in self.done


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs main with fake stages; the commands that it would have started."""
    monkeypatch.setattr(recipes.run, "locate", lambda *_: None)

    def run(*argv, done=()):
        started = []

        def start(name, command):
            started.append((name, command))
            FakeStage.done.add(name)
            FakeStage(name, SimpleNamespace(artifacts=str(tmp_path))).is_current

        FakeStage.done = set(done)
        monkeypatch.setattr(sys, "argv", ["run", *map(str, argv), "--artifacts", str(tmp_path)])
        monkeypatch.setattr(recipes.run, "run_stage", start)
        stages = {name: SimpleNamespace(plan=lambda config, given, name=name: FakeStage(name, config))
                  for name in recipes.run.STAGES}
        for name, module in stages.items():
            monkeypatch.setitem(sys.modules, f"recipes.{name}", module)
        recipes.run.main()
        return started
    return run


def test_stages_in_order_and_none_twice(run, capsys, tmp_path):
    """If this fails, stages run in another order than data flows, or those that are up to date run again."""
    started = run(RECIPE, done={"convert", "score"})
    assert [name for name, _ in started] == ["train_reranker", "mine", "train", "export", "benchmark"]
    printed = capsys.readouterr().out
    assert f"convert: {tmp_path}/convert is up to date" in printed and "run: ran train_reranker, mine" in printed
    assert f"{tmp_path}/export  (export, 61 s)" in printed and "trained model  0.900" in printed
    assert f'SentenceTransformer("{tmp_path}/export")' in printed
    assert run(RECIPE, done=set(stages_of(RECIPE))) == []
    assert "run: everything is up to date" in capsys.readouterr().out


def test_options_reach_the_stages(run, monkeypatch, tmp_path):
    """If this fails, a stage reads another mirror, writes to another folder, or trains on one process of two."""
    monkeypatch.setattr(recipes.run, "go_offline", lambda: None)
    hardware = ROOT / "recipes" / "accelerate" / "cpu2.yaml"
    started = dict(run(RECIPE, "--mirror", "one", "--mirror", "two", "--accelerate", hardware, "--set",
                       "train.max_steps=3", "--set", "mine.margin=0.9"))
    common = ["--mirror", "one", "--mirror", "two", "--artifacts", str(tmp_path)]
    for name, command in started.items():
        more = {"train": ["--max_steps", "3"], "mine": ["--margin", "0.9"]}.get(name, [])
        assert command[command.index("--config"):] == ["--config", str(RECIPE / f"{name}.yaml"), *common, *more]
    for name in ("score", "mine", "train"):
        assert started[name][1:6] == ["-m", "accelerate.commands.launch", "--config_file", str(hardware), "-m"]
    assert started["convert"][1:3] == ["-m", "recipes.convert"]


@pytest.fixture
def machine(monkeypatch):
    """A machine with or without a GPU, whose CPU is slower at bfloat16 or not."""
    def machine(is_slow, has_gpu=False):
        monkeypatch.setattr("anna_embed.precision.bfloat16_speedup", lambda: 0.16 if is_slow else 2.2)
        monkeypatch.setattr(recipes.run, "fastest_device", lambda: "cuda" if has_gpu else "cpu")
    return machine


@pytest.mark.parametrize("asked, is_slow, taken", [
    ("auto", True, "float32"), ("auto", False, None), ("float32", False, "float32"), ("bfloat16", True, "bfloat16")])
def test_one_type_for_all_models(run, machine, capsys, asked, is_slow, taken):
    """If this fails, `make quickstart` seems to hang on a laptop that has no instructions for bfloat16; or some models
    compute in another type than was asked for; or the exported weights are not as the YAML says."""
    machine(is_slow)
    started = dict(run(RECIPE, "--dtype", asked, "--set", "score.depth=3"))
    ends = {name: command[command.index("--artifacts") + 2:] for name, command in started.items()}
    one = ["--dtype", taken] if taken else []
    training = [*one, "--bf16", str(taken == "bfloat16").lower()] if taken else []
    assert ends == {"convert": [], "train_reranker": one, "score": [*one, "--depth", "3"], "mine": [],
                    "train": training, "export": [], "benchmark": one}
    later = dict(run(RECIPE, "--dtype", asked, "--set", "score.dtype=float32"))["score"]
    assert later[-2:] == ["--dtype", "float32"] and "note" not in capsys.readouterr().err


@pytest.mark.parametrize("is_slow, has_gpu, hardware, is_float32", [
    (True, True, None, False), (True, True, "gpu8", False), (True, True, "cpu2", True), (True, False, "cpu2", True),
    (False, False, "cpu2", False)])
def test_auto_asks_where_models_run(run, machine, capsys, is_slow, has_gpu, hardware, is_float32):
    """If this fails, a GPU loses half its speed, or two processes on the CPU beside one crawl; and who says nothing of
    types is not told, or is told on a machine that is as fast as it can be."""
    machine(is_slow, has_gpu)
    through = ["--accelerate", ROOT / "recipes" / "accelerate" / f"{hardware}.yaml"] if hardware else []
    for recipe in ("own_data", "minilm_reranker"):
        started = dict(run(ROOT / "recipes" / recipe, "--dtype", "auto", *through))
        assert ("float32" in started["train_reranker"]) is is_float32
        assert capsys.readouterr().err == ""
        run(ROOT / "recipes" / recipe, *through)
        assert ("float32; give --dtype auto" in capsys.readouterr().err) is is_float32


@pytest.mark.parametrize("argv, sentence", [
    (["no/such/folder"], "recipe: 'no/such/folder' is no folder; name a recipe's folder"),
    ([ROOT / "tests"], "recipe: '.*tests' holds none of convert.yaml, train_reranker.yaml"),
    ([RECIPE, "--accelerate", "no.yaml"], "--accelerate: 'no.yaml' is no hardware file; name one of recipes/accel"),
    ([RECIPE, "--accelerate", ROOT / "Makefile"], "--accelerate: '.*Makefile' is no hardware file"),
    ([RECIPE, "--accelerate", ROOT / "LICENSE"], "--accelerate: '.*LICENSE' is no hardware file"),
    ([RECIPE, "--set", "max_steps=3"], "--set: 'max_steps=3' is not STAGE.KEY=VALUE with a stage of convert"),
    ([RECIPE, "--set", "train.max_steps"], "--set: 'train.max_steps' is not STAGE.KEY=VALUE"),
    ([RECIPE, "--set", "publish.tag=v1"], "--set: 'publish.tag=v1' is not STAGE.KEY=VALUE with a stage of convert"),
    ([RECIPE, "--set", "train.dry_run=true"], "train.dry_run: true leaves nothing .*python -m recipes.train --config"),
    ([RECIPE, "--set", "train.gradient_accumulation_steps=8"], "gradient_accumulation_steps: 8 is not possible; it"),
    ([RECIPE, "--set", "train.load_in_4bit=true"], "load_in_4bit: True is not possible; the base model is not quan"),
    ([RECIPE, "--set", "train.eval_strategy=steps"], "eval_steps: is missing beside eval_strategy: steps"),
    ([RECIPE, "--set", "benchmark.rerank_dept=3"], "unknown key 'rerank_dept'.*did you mean 'rerank_depth'"),
])
def test_what_is_wrong_is_said_before_anything_runs(run, argv, sentence):
    """If this fails, a typo in the last stage is found out after the others have run for hours."""
    with pytest.raises(RecipeError, match=sentence):
        run(*argv)


def test_a_model_that_is_nowhere(run, monkeypatch, tmp_path):
    """If this fails, a slip in the name of the base model is found out after all texts were scored and mined."""
    monkeypatch.setattr(recipes.run, "locate", locate)
    monkeypatch.setattr("anna_embed.located.fetch", lambda *_: ("a folder", "a commit"))
    with pytest.raises(RecipeError, match="train.model_name_or_path: there is nothing at 'no/such/model'; run the st"):
        run(RECIPE, "--set", "train.model_name_or_path=no/such/model")
    assert "score" in dict(run(RECIPE, "--set", f"score.reranker={tmp_path}/reranker"))  # which the run makes itself
    wrong = "benchmark.base_model=no/such/model"
    with pytest.raises(RecipeError, match="benchmark.base_model: there is nothing at 'no/such/model'"):
        run(RECIPE, "--set", wrong)
    run(RECIPE, "--set", wrong, "--set", "benchmark.baselines=false")  # nothing is read then that it names


def test_overrides():
    """If this fails, a list arrives as one word, or a prompt with a comma in it as two."""
    types = {stage: types_of(stage) for stage in ("score", "train", "benchmark")}
    settings = ["score.dense_query_prompt=query, please: ", "benchmark.tasks=SICK-R,STS12", "train.seed=1",
                "train.lora_target_modules=q_proj,v_proj", "score.bm25_b=0"]
    assert overrides(settings, "score", types) == ["--dense_query_prompt", "query, please: ", "--bm25_b", "0"]
    assert overrides(settings, "benchmark", types) == ["--tasks", "SICK-R", "STS12"]
    assert overrides(settings, "train", types) == ["--seed", "1", "--lora_target_modules", "q_proj", "v_proj"]


# ---- how it ends ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("child, code", [("raise SystemExit(2)", 2), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_failing_stage_stops_the_run_with_its_code(capsys, child, code):
    """If this fails, the next stage runs on what the failed one left, or a script cannot tell what happened."""
    with pytest.raises(SystemExit) as stopped:
        run_stage("score", [sys.executable, "-c", child])
    assert stopped.value.code == code and "run: score stopped; what is finished is kept" in capsys.readouterr().err


CHILD = """import signal, sys, time
def end(number, frame):
    time.sleep(0.7)  # what launchers of several processes need to end them
    open(sys.argv[1], "a").write("ended")
    sys.exit(3)
signal.signal(signal.{}, end)
print("started", flush=True)
time.sleep(60)"""


LAUNCHER = "import subprocess, sys; raise SystemExit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)"


def test_a_stage_behind_a_launcher_ends_too(tmp_path):
    """accelerate's launcher of one process dies at SIGTERM and tells nobody: training would go on, unseen."""
    runner = ("import sys; from recipes.run import run_stage;"
              "run_stage('train', [sys.executable, '-c', sys.argv[1], '-c', sys.argv[2], sys.argv[3]])")
    process = subprocess.Popen([sys.executable, "-c", runner, LAUNCHER, CHILD.format("SIGTERM"),
                                str(tmp_path / "end")], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    assert process.stdout.readline() == "started\n"
    process.terminate()
    _, said = process.communicate(timeout=120)  # once nobody holds the pipe
    assert (tmp_path / "end").read_text() == "ended" and "train stopped" in said


@pytest.mark.parametrize("name, to_group, code", [("SIGINT", True, 3), ("SIGTERM", False, 3)])
def test_an_interrupted_run_ends_after_its_stage(tmp_path, name, to_group, code):
    """If this fails, Ctrl-C or `kill` leaves a stage at work that nobody sees, or kills the launcher of a training
    before it has ended its processes."""
    runner = ("import sys; from recipes.run import run_stage;"
              "run_stage('train', [sys.executable, '-c', sys.argv[1], sys.argv[2]])")
    process = subprocess.Popen([sys.executable, "-c", runner, CHILD.format(name), str(tmp_path / "end")], cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "started\n"
    time.sleep(0.2)
    number = getattr(signal, name)
    if to_group:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert (tmp_path / "end").read_text() == "ended" and process.returncode == code and "train stopped" in said
