"""Recipes and the command line: what is right is read as meant, what is wrong is one sentence."""

import errno
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TrainingArguments
from trl import ModelConfig

from anna_embed.config import BenchmarkConfig, ConvertConfig, ScoreConfig, StageConfig, TrainConfig
from anna_embed.parsing import RecipeError, check_type, one_sentence, parse

ROOT = Path(__file__).parents[1]
TOKEN = "hf_" + "Ab3" * 11
GOOD = "artifacts: runs/a\ndense_model: some/model\n"


@pytest.fixture
def read(tmp_path):
    """Parses a recipe given as text, with further arguments."""
    def read(text, *arguments, types=ScoreConfig):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_bytes(text.encode() if isinstance(text, str) else text)
        return parse(types, ["--config", str(recipe), *arguments])
    return read


# ---- what is right ---------------------------------------------------------------------------------------------


def test_yaml_and_command_line(read):
    """The command line wins over the YAML, and what neither states is not part of what an artifact is keyed by."""
    config, given = read(GOOD + "depth: 20\nbatch_size: 8\n", "--depth", "30")
    assert (config.depth, config.batch_size, config.rrf_k) == (30, 8, 60)
    assert given == {"artifacts": "runs/a", "dense_model": "some/model", "depth": 30, "batch_size": 8}


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_key(capsys, monkeypatch, flag):
    """Who asks which keys there are must not be told that one is missing, nor of any that is refused."""
    monkeypatch.setattr(sys.modules["__main__"], "__doc__", "What the script does.")
    with pytest.raises(SystemExit) as stop:
        parse((TrainConfig, TrainingArguments, ModelConfig), [flag])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "--no_" not in said
    for key in ("What the script does.", "--artifacts", "--guide_softening", "--learning_rate", "--lora_r",
                "Folder that holds this run"):
        assert key in said


@pytest.mark.parametrize("arguments", [
    ["--mirror", "a", "--mirror", "b", "--depth", "5"], ["--mirror", "a", "--depth", "5", "--mirror", "b"],
    ["--mirror", "a", "b", "--depth=5"], ["--mirror=a", "--depth", "5", "--mirror=b"]])
def test_mirror_may_be_given_again_and_again(read, arguments):
    """argparse keeps the last list only: the first mirror would be forgotten, and its models asked of the network."""
    config, _ = read(GOOD, *arguments)
    assert config.mirror == ["a", "b"] and config.depth == 5


def test_every_list_may_be_given_again():
    """If this fails, `--tasks A --tasks B` scores the second alone, in silence."""
    config, stated = parse(BenchmarkConfig, ["--artifacts", "a", "--tasks", "A", "--dtype", "float32", "--tasks", "B"])
    assert config.tasks == stated["tasks"] == ["A", "B"] and config.dtype == "float32"


@pytest.mark.parametrize("number", ["5e-2", "0.05", "5.0e-2", ".05", "+5E-2", "'5e-2'"])
def test_numbers_of_any_spelling(read, number):
    """YAML 1.1 reads 5e-2 as a string, which no learning rate should fail on."""
    assert read(GOOD + f"bm25_b: {number}\n")[0].bm25_b == 0.05
    learning_rate = read(f"artifacts: a\nlearning_rate: {number}\nuse_cpu: true\n",
                         types=(TrainConfig, TrainingArguments, ModelConfig))[1].learning_rate
    assert learning_rate == 0.05


def test_a_whole_training_recipe(read):
    """Three dataclasses share a file; a key of each has to arrive."""
    text = ("artifacts: a\nnum_negatives: 3\nlearning_rate: 1.0e-3\nlora_target_modules: [all-linear]\n"
            "warmup_steps: 0.1\nuse_peft: true\nuse_cpu: true\n")
    types = TrainConfig, TrainingArguments, ModelConfig
    ours, trainer, model, given = read(text, "--num_train_epochs", "2", types=types)
    assert (ours.num_negatives, trainer.learning_rate, trainer.warmup_steps, model.use_peft) == (3, 1e-3, 0.1, True)
    assert trainer.num_train_epochs == 2 and set(given) == {
        "artifacts", "num_negatives", "learning_rate", "lora_target_modules", "warmup_steps", "use_peft", "use_cpu",
        "num_train_epochs"}


def test_merge_keys_and_byte_order_mark(read):
    """Both are valid YAML that editors write."""
    text = "\ufeffartifacts: a\ntasks:\n- &own {name: BoolQ, limit: 5}\n- {<<: *own, name: SQuAD}\n"
    config, _ = read(text, types=ConvertConfig)
    assert config.tasks == [{"name": "BoolQ", "limit": 5}, {"name": "SQuAD", "limit": 5}]


def test_bools_of_the_command_line(read):
    """`--decontaminate false` has to switch off: `type=bool` of argparse would read any word as true."""
    text = "artifacts: a\ntasks: [{name: BoolQ}]\n"
    for word, value in (("false", False), ("no", False), ("0", False), ("True", True), ("yes", True)):
        assert read(text, "--decontaminate", word, types=ConvertConfig)[0].decontaminate is value
    assert read(text, "--decontaminate", types=ConvertConfig)[0].decontaminate is True


# ---- what is wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "arguments", "message"), [
    (GOOD + "dept: 5\n", [], "recipe.yaml: unknown key 'dept' (value 5) (did you mean 'depth'?); the stage's"),
    (GOOD, ["--dpeth", "5"], "command line: unknown key 'dpeth' (value '5') (did you mean 'depth'?)"),
    (GOOD + "1: 2\n", [], "recipe.yaml: unknown key '1' (value 2)"),
    (GOOD + "on: 2\n", [], "recipe.yaml: unknown key 'True' (value 2)"),
    (GOOD + "env: {HF_TOKEN: x}\n", [], "recipe.yaml: unknown key 'env'"),
    (GOOD + "Token: secret\n", [], "recipe.yaml: unknown key 'Token'; log in with `hf auth login`, or set HF_TOKEN."),
    (GOOD, ["--tokn", TOKEN], "command line: unknown key 'tokn' (value 'hf_...')"),
    (GOOD, ["--depth", TOKEN], "command line: depth: 'hf_...' is not of type int"),
    (GOOD + f"mirror: {TOKEN}\n", [], "recipe.yaml: mirror: 'hf_...' is not of type list[str]"),
    (GOOD + "depth: many\n", [], "recipe.yaml: depth: 'many' is not of type int; write a value of that type."),
    (GOOD + "depth: 5.5\n", [], "recipe.yaml: depth: 5.5 is not of type int"),
    (GOOD + "depth: 5e1\n", [], "recipe.yaml: depth: '5e1' is not of type int"),
    (GOOD + "depth: true\n", [], "recipe.yaml: depth: True is not of type int"),
    (GOOD + "depth:\n", [], "recipe.yaml: depth: None is not of type int"),
    (GOOD + "depth: [5]\n", [], "recipe.yaml: depth: [5] is not of type int"),
    (GOOD + "mirror: here\n", [], "recipe.yaml: mirror: 'here' is not of type list[str]"),
    (GOOD + "dtype: int8\n", [], "recipe.yaml: dtype: 'int8' is not of type Literal['float32', 'bfloat16']"),
    (GOOD, ["--depth", "many"], "command line: depth: 'many' is not of type int"),
    (GOOD, ["--dtype", "int8"], "command line: dtype: 'int8' is not of type Literal['float32', 'bfloat16']"),
    (GOOD, ["--depth", "null"], "command line: depth: 'null' is not of type int"),
    (GOOD + "depth: 0\n", [], "depth: 0 is not possible; "),
    (GOOD + "bm25_k1: .inf\n", [], "bm25_k1: inf is not possible; write 0 or more"),
    (GOOD, ["foo"], "command line: ['foo'] belongs to no key; write --key value, or take it out."),
    (GOOD, ["--artifacts", "a", "foo"], "command line: ['foo'] belongs to no key"),
    (GOOD, ["--mirror"], "command line: --mirror has no value; give one, or leave --mirror out."),
    (GOOD, ["--mirror", "--depth", "5"], "command line: --mirror has no value"),
    (GOOD.replace("artifacts: ", "artifacts: ''  # "), [], "artifacts: '' is not possible; name a folder."),
    ("dense_model: m\n", [], "recipe.yaml: the key 'artifacts' is missing: write artifacts: <value> (Folder"),
    (GOOD + "depth: 1\ndepth: 2\n", [], "recipe.yaml: not valid YAML (the key 'depth' stands twice"),
    (GOOD + "depth: [1\n", [], "recipe.yaml: not valid YAML (while parsing a flow sequence"),
    ("- 1\n", [], "recipe.yaml: holds a list, not keys with values; write 'key: value', one a line."),
    ("", [], "recipe.yaml: holds nothing, not keys with values"),
    (b"artifacts: \xff\n", [], "recipe.yaml: not valid YAML ("),
])
def test_bad_recipes_are_one_sentence(read, text, arguments, message):
    """A misspelt key that is ignored, or a usage of 200 lines, costs a run; a sentence names key, value, remedy; an
    access token in it would stand in every log."""
    with pytest.raises(RecipeError) as refused:
        read(text, *arguments)
    assert message in str(refused.value) and str(refused.value).endswith(".") and "\n" not in str(refused.value)


@pytest.mark.parametrize(("text", "message"), [
    ("tasks: [BoolQ]\n", "tasks: ['BoolQ'] is not of type list[dict[str, Any]]"),
    ("tasks: []\n", "tasks: [] is not possible; name at least one task"),
    ("tasks: [{name: BoolQ}]\ndecontaminate: 'no'\n", "decontaminate: 'no' is not of type bool"),
    ("tasks: [{name: BoolQ, name: SQuAD}]\n", "the key 'name' stands twice"),
    ("tasks: [{name: BoolQ}]\ntest_sets: [{split: test}]\n", "test_sets: {'split': 'test'} needs 'path'"),
    ("tasks: [{name: BoolQ}]\ntest_sets: [{path: 3}]\n", "test_sets: {'path': 3} is not of type dict[str, str]"),
])
def test_bad_convert_recipes(read, text, message):
    """The same for the keys of a list of tasks, where a repeated key is easily overlooked."""
    with pytest.raises(RecipeError) as refused:
        read("artifacts: a\n" + text, types=ConvertConfig)
    assert message in str(refused.value)


@pytest.mark.parametrize(("text", "message"), [
    ("lr_scheduler_type: lineear\n", "lineear is not a valid SchedulerType"),
    ("bf16: true\nfp16: true\n", "At most one of fp16 and bf16 can be True"),
    ("learning_rte: 1.0e-3\n", "unknown key 'learning_rte' (value 0.001) (did you mean 'learning_rate'?)"),
])
def test_what_transformers_refuses(read, text, message):
    """Its own dataclasses raise too; a traceback through four libraries would bury the one line that counts."""
    with pytest.raises(RecipeError, match="recipe.yaml: ") as refused:
        read("artifacts: a\nuse_cpu: true\n" + text, types=(TrainConfig, TrainingArguments, ModelConfig))
    assert message in str(refused.value)


@pytest.mark.parametrize("arguments", [["--config", "nowhere.yaml"], ["--config"], ["--config=nowhere.yaml"]])
def test_missing_recipe(arguments):
    """The commonest slip of all."""
    with pytest.raises(RecipeError, match="--config: there is no file '(nowhere.yaml)?'; give the path of"):
        parse(ScoreConfig, arguments)


def test_exit_code_and_one_line(tmp_path):
    """Scripts that call a stage see exit code 2, and people one line instead of a traceback."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("artifacts: a\ntasks: [{name: BoolQQ}]\n")
    done = subprocess.run([sys.executable, "-m", "recipes.convert", "--config", str(recipe)], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: tasks: 'BoolQQ' is not in the sources table")
    assert done.stderr.count("\n") == 1


def test_what_the_command_line_cannot_say(read):
    """A mapping would end in 100 lines of usage; `null` was the name of a model."""
    recipe = "artifacts: a\nmodel_name_or_path: m\nguide: g\n"
    config, *_, given = read(recipe + "guide_softening: 3\n", "--guide", "null", "--guide_softening", "null",
                             types=(TrainConfig, TrainingArguments, ModelConfig))
    assert config.guide is config.guide_softening is given["guide"] is None
    with pytest.raises(RecipeError, match="command line: task_weights: a mapping cannot be given here; write it in"):
        read(recipe, "--task_weights", "{a: 1}", types=(TrainConfig, TrainingArguments, ModelConfig))


def test_one_number_is_one_key(read):
    """If this fails, `--num_train_epochs 1` beside `num_train_epochs: 1` in the file trains again from the start."""
    types = (TrainConfig, TrainingArguments, ModelConfig)
    recipe = "artifacts: a\nmodel_name_or_path: m\nnum_train_epochs: 1\nmax_steps: 3\n"
    *_, of_file = read(recipe, types=types)
    *_, of_words = read(recipe, "--num_train_epochs", "1", types=types)
    assert repr(of_file) == repr(of_words) and repr(of_file["num_train_epochs"]) == "1.0" and of_file["max_steps"] == 3


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    """If this fails, `--output file.txt/vectors.npy` is a traceback."""
    (tmp_path / "file").write_text("")
    for use in (lambda: (tmp_path / "file" / "x").mkdir(), lambda: tmp_path.mkdir(), lambda: tmp_path.open("w")):
        with pytest.raises(SystemExit), one_sentence():
            use()
        assert f"error: cannot use '{tmp_path}" in capsys.readouterr().err


def test_a_full_disk_without_a_path(capsys):
    """If this fails, the sentence names a file that is not there: 'an artifact'."""
    with pytest.raises(SystemExit), one_sentence():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "error: the disk is full, of artifacts or of a cache (HF_HOME); free some" in capsys.readouterr().err


@pytest.mark.parametrize("write", [
    lambda file: np.save(file, np.zeros(100_000)), lambda file: torch.save(torch.zeros(100_000), file)])
def test_a_full_disk_in_the_words_of_libraries(tmp_path, capsys, write):
    """If this fails, the disk runs full in a checkpoint or a shard of vectors and the user sees a traceback."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # as a full disk, but for the number of the error
    try:
        with pytest.raises(SystemExit), one_sentence():
            write(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "error: the disk is full" in capsys.readouterr().err


def test_other_errors_are_not_hidden():
    """A bug of ours is no fault of the user, and its traceback is what mends it."""
    with pytest.raises(ValueError, match="bug"), one_sentence():
        raise ValueError("bug")


# ---- types -----------------------------------------------------------------------------------------------------


@dataclass
class Kinds(StageConfig):
    """One key of each kind that a recipe may hold."""

    a: int = 1
    b: float = 1.0
    c: bool = True
    d: str | None = None
    e: list[int] = field(default_factory=list)
    f: dict[str, float] = field(default_factory=dict)
    g: Literal["x", "y"] = "x"
    h: Any = None
    i: int | float | None = None


@pytest.mark.parametrize(("key", "good", "bad"), [
    ("a", [0, -3], [1.0, "1", None, True, [1]]), ("b", [1, 0.5], ["x", None, True]),
    ("c", [True, False], [0, "true", None]), ("d", ["x", "", None], [1, ["x"]]),
    ("e", [[], [1, 2], (1,)], ["1", [1, "2"], None]),
    ("f", [{}, {"x": 1.5, "y": 1}], [[], {"x": "1"}]), ("g", ["x", "y"], ["z", None]), ("h", [1, "x", None], []),
    ("i", [1, 1.5, None], ["x", True])])
def test_types(key, good, bad):
    """Types that lie make errors appear far from the key that caused them."""
    for value in good:
        assert getattr(Kinds(artifacts="a", **{key: value}), key) == value
    for value in bad:
        with pytest.raises(RecipeError, match=f"^{key}: .* is not of type .*; write a value of that type"):
            Kinds(artifacts="a", **{key: value})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6))
@settings(deadline=None, derandomize=True)
def test_any_value_fits_or_is_refused(value):
    """Whatever YAML holds, checking it must end in yes or in one sentence."""
    for annotation in (int, float | None, list[str], dict[str, Any], Literal["x"], bool, str | list[str]):
        try:
            check_type("key", value, annotation)
        except RecipeError as error:
            assert str(error).startswith("key: ")
