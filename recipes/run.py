"""Every stage of a recipe in order; what is up to date is skipped, what was killed goes on.

    python -m recipes.run recipes/quickstart --dtype auto --mirror artifacts/mirror     # a laptop, 15 to 30 min
    python -m recipes.run recipes/own_data --accelerate recipes/accelerate/gpu8.yaml
    python -m recipes.run recipes/quickstart --artifacts artifacts/toy --set train.max_steps=3 --mirror m1 --mirror m2

Reads      the folder's YAML files, one per stage: convert, train_reranker, score, mine, train, export, benchmark
Publishes  what the stages publish; a stage runs again exactly if a key that can change its result, or the content of
           an input, changed
"""

import argparse
import importlib
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import yaml

from anna_embed.artifacts import read_manifest
from anna_embed.config import BenchmarkConfig, ConvertConfig, ExportConfig, MineConfig, RerankerConfig, ScoreConfig
from anna_embed.config import TrainConfig
from anna_embed.evaluation.show import as_text, how_to_use
from anna_embed.fetch import go_offline
from anna_embed.located import locate
from anna_embed.parsing import RecipeError, one_sentence, parse
from anna_embed.precision import fastest_device, is_slow, note_if_slow

STAGES = {"convert": ConvertConfig, "train_reranker": RerankerConfig, "score": ScoreConfig, "mine": MineConfig,
          "train": TrainConfig, "export": ExportConfig, "benchmark": BenchmarkConfig}
SHARED = ("score", "mine", "train")  # several processes share their work
YARDSTICKS = ("base_model", "dense_model", "reranker")  # of the benchmark, if it is asked for baselines
MODELS = (*YARDSTICKS, "model_name_or_path", "guide", "second_guide", "adapter", "model")
COMPUTE = ("train_reranker", "score", "train", "benchmark")  # their dtype is what models compute in


def main() -> None:
    options = arguments().parse_args()
    stages = stages_of(options.recipe)
    if options.mirror:
        go_offline()
    common = [x for mirror in options.mirror for x in ("--mirror", mirror)]
    common += ["--artifacts", options.artifacts] if options.artifacts else []

    # ---- every key of every stage, before the first one runs --------------------------------------------------------
    types, device = {name: types_of(name) for name in stages}, device_of(options.accelerate)
    settings = of_one_type(options.dtype, stages, device) + options.set
    argv = {name: ["--config", str(options.recipe / f"{name}.yaml"), *common, *overrides(settings, name, types)]
            for name in stages}
    parsed = {name: parse(types[name], argv[name]) for name in stages}
    asked = {getattr(part, "dtype", None) for name in COMPUTE if name in stages for part in parsed[name]}
    if options.dtype is None and "bfloat16" in asked:
        note_if_slow("bfloat16", device, "--dtype auto")
    for name, (config, *_) in parsed.items():
        if getattr(config, "dry_run", False):
            raise RecipeError(f"{name}.dry_run: true leaves nothing for the stages behind it; run the stage alone: "
                              f"python -m recipes.{name} --config {options.recipe / name}.yaml --dry_run true.")
    if "train" in parsed:
        check_training(*parsed["train"])
    find_models(parsed)

    # ---- the stages -------------------------------------------------------------------------------------------------
    outputs, ran = {}, []
    for name, (config, *_, given) in parsed.items():
        stage = importlib.import_module(f"recipes.{name}").plan(config, given)
        outputs[name] = stage.output
        if stage.is_current and not config.push:
            print(f"{name}: {stage.output} is up to date", flush=True)
            continue
        through = ["accelerate.commands.launch", "--config_file", options.accelerate, "-m"]
        launcher = through if name in SHARED and options.accelerate else []
        run_stage(name, [sys.executable, "-m", *launcher, f"recipes.{name}", *argv[name]])
        ran.append(name)

    # ---- what there is now ------------------------------------------------------------------------------------------
    print("\nrun: " + (f"ran {', '.join(ran)}" if ran else "everything is up to date"))
    for name, output in outputs.items():
        print(f"  {output}  ({name}, {read_manifest(output)['seconds']:.0f} s)")
    if "benchmark" in outputs:
        print(as_text(read_manifest(outputs["benchmark"])["table"]))
    if "export" in outputs:
        print(how_to_use(outputs["export"]))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a folder with one YAML file per stage")
    parser.add_argument("--mirror", action="append", default=[], metavar="FOLDER",
                        help="read from this folder in Hub layout, never the network; may be given several times")
    parser.add_argument("--artifacts", help="write here instead of where the YAML files say")
    parser.add_argument("--accelerate", metavar="FILE",
                        help="score, mine and train through accelerate with this hardware file")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "auto"),
                        help="what all models compute in, instead of what the YAML files say; auto: as they say, but "
                             "float32 on a CPU that is slower at bfloat16; another type makes the artifacts anew")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE",
                        help="override one key of one stage; commas part the items of a list")
    return parser


def stages_of(recipe: Path) -> list[str]:
    """The stages that a recipe's folder has a YAML file for, in the order in which they run.

    Raises:
        [`RecipeError`]: it is no such folder.
    """
    stages = [name for name in STAGES if (recipe / f"{name}.yaml").is_file()]
    if not stages:
        what = "holds none of " + ", ".join(f"{s}.yaml" for s in STAGES) if recipe.is_dir() else "is no folder"
        raise RecipeError(f"recipe: '{recipe}' {what}; name a recipe's folder, for example recipes/quickstart.")
    return stages


def types_of(stage: str) -> tuple[type, ...]:
    """The dataclasses that own a stage's keys, as its own script parses them."""
    if stage != "train":
        return (STAGES[stage],)
    from trl import ModelConfig

    from anna_embed.training.arguments import Arguments

    return (TrainConfig, Arguments, ModelConfig)


def check_training(config, training_args, model_args, given: dict) -> None:
    """Raises [`RecipeError`] for keys that the stage would refuse."""
    from anna_embed.training.check import check_arguments
    from anna_embed.training.inputs import check_keys

    training_args._n_gpu = min(1, training_args.n_gpu)  # how many there are is no matter of the keys
    check_arguments(training_args)
    check_keys(given)
    config.evaluates(given)


def find_models(parsed: dict[str, tuple]) -> None:
    """Raises [`RecipeError`] if a model that a stage names is nowhere, unless this run is to make it."""
    found = set()
    for stage, (config, *_, given) in parsed.items():
        for key in MODELS if getattr(config, "baselines", True) else set(MODELS) - set(YARDSTICKS):
            name, made = given.get(key), Path(config.artifacts).resolve()
            if name and name not in found and not Path(name).exists() and made not in Path(name).resolve().parents:
                locate(f"{stage}.{key}", name, "model", config.mirror)
                found.add(name)


def device_of(accelerate: str | None) -> str:
    """Where models run: on a CPU if accelerate's file says so, else on the fastest device there is.

    Raises:
        [`RecipeError`]: it is no such file.
    """
    if accelerate is None:
        return fastest_device()
    try:
        hardware = yaml.safe_load(Path(accelerate).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        hardware = None
    if not isinstance(hardware, dict):
        raise RecipeError(f"--accelerate: '{accelerate}' is no hardware file; name one of recipes/accelerate.")
    return "cpu" if hardware.get("use_cpu") else fastest_device()


def of_one_type(dtype: str | None, stages: list[str], device: str) -> list[str]:
    """What `--dtype` stands for, in the form of `--set`. The weights that export writes keep their type."""
    if dtype == "auto":
        dtype = "float32" if is_slow("bfloat16", device) else None
    if dtype is None:
        return []
    settings = [f"{stage}.dtype={dtype}" for stage in COMPUTE if stage in stages]
    return settings + [f"train.bf16={str(dtype == 'bfloat16').lower()}"] * ("train" in stages)


def overrides(settings: list[str], stage: str, types: dict[str, tuple[type, ...]]) -> list[str]:
    """The command-line arguments of one stage, from `--set stage.key=value`."""
    argv = []
    for setting in settings:
        name, dot, rest = setting.partition(".")
        key, equals, value = rest.partition("=")
        if name not in types or not dot or not equals:
            raise RecipeError(f"--set: '{setting}' is not STAGE.KEY=VALUE with a stage of {', '.join(types)}; "
                              "write for example train.max_steps=3.")
        is_list = any(f.name == key and "list" in str(f.type) for t in types[name] for f in fields(t))
        argv += [f"--{key}", *(value.split(",") if is_list else [value])] if name == stage else []
    return argv


def run_stage(name: str, command: list[str]) -> None:
    """Runs a stage in processes of its own; ends with its exit code if it fails, and not before it has ended.

    What ends this process ends the stage as well: the launcher of one process would die alone and leave it at work.
    """
    process = subprocess.Popen(command, start_new_session=True)
    before = {sign: signal.signal(sign, lambda *_: os.killpg(process.pid, signal.SIGTERM))
              for sign in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(sign) != signal.SIG_IGN}
    try:
        code = process.wait()
    except KeyboardInterrupt:  # the stage is no part of the terminal's group
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait() or 130
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
    if code:
        print(f"run: {name} stopped; what is finished is kept: the same command goes on from there", file=sys.stderr)
        raise SystemExit(code if code > 0 else 128 - code)


if __name__ == "__main__":
    with one_sentence():
        main()
