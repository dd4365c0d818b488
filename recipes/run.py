"""Every stage of a recipe in order; what is up to date is skipped, what was killed goes on.

    python -m recipes.run recipes/quickstart --mirror artifacts/mirror            # a laptop, 15 min
    python -m recipes.run recipes/smollm2_135m --accelerate recipes/accelerate/gpu8.yaml
    python -m recipes.run recipes/quickstart --set train.max_steps=3 --artifacts artifacts/toy --mirror artifacts/mirror

Reads      the folder's YAML files, one per stage: convert, train_reranker, score, mine, train, export, benchmark
Publishes  what the stages publish; a stage runs again exactly if its keys or the content of its inputs changed
"""

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

from anna_embed.artifacts import Stage, go_offline, read_manifest
from anna_embed.config import BenchmarkConfig, ConvertConfig, ExportConfig, MineConfig, RerankerConfig, ScoreConfig
from anna_embed.config import TrainConfig
from anna_embed.evaluation.show import as_text, how_to_use
from anna_embed.parsing import RecipeError, one_sentence, parse

STAGES = {"convert": ConvertConfig, "train_reranker": RerankerConfig, "score": ScoreConfig, "mine": MineConfig,
          "train": TrainConfig, "export": ExportConfig, "benchmark": BenchmarkConfig}


def plan(name: str, argv: list[str]) -> Stage:
    """The stage as its own script would run it."""
    types = STAGES[name]
    if name == "train":
        from transformers import TrainingArguments
        from trl import ModelConfig

        types = (TrainConfig, TrainingArguments, ModelConfig)
    config, *_, given = parse(types, argv)
    return importlib.import_module(f"recipes.{name}").plan(config, given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a folder with one YAML file per stage")
    parser.add_argument("--mirror", action="append", default=[], help="read from this folder in Hub layout, never the network")
    parser.add_argument("--artifacts", help="write here instead of where the YAML files say")
    parser.add_argument("--accelerate", help="train through accelerate with this hardware file")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="override one key of one stage")
    options = parser.parse_args()
    stages = [name for name in STAGES if (options.recipe / f"{name}.yaml").is_file()]
    if not stages:
        raise RecipeError(f"recipe: '{options.recipe}' holds none of {', '.join(f'{s}.yaml' for s in STAGES)}; name a recipe's folder.")
    if options.mirror:
        go_offline()

    # ---- the stages --------------------------------------------------------------------------------------------------
    common = [x for m in options.mirror for x in ("--mirror", m)]
    common += ["--artifacts", options.artifacts] if options.artifacts else []
    outputs, ran = {}, []
    for name in stages:
        argv = ["--config", str(options.recipe / f"{name}.yaml"), *common, *overrides(options.set, name, stages)]
        stage = plan(name, argv)
        outputs[name] = stage.output
        if stage.is_current:
            print(f"{name}: {stage.output} is up to date", flush=True)
            continue
        launcher = [sys.executable, "-m"]
        if name == "train" and options.accelerate:
            launcher += ["accelerate.commands.launch", "--config_file", options.accelerate, "-m"]
        code = subprocess.run([*launcher, f"recipes.{name}", *argv]).returncode
        if code:
            raise SystemExit(code if code > 0 else 128 - code)
        ran.append(name)

    # ---- what there is now -------------------------------------------------------------------------------------------
    print("\nrun: " + (f"ran {', '.join(ran)}" if ran else "everything is up to date"))
    for name, output in outputs.items():
        print(f"  {output}  ({name}, {read_manifest(output)['seconds']:.0f} s)")
    if "benchmark" in outputs:
        print(as_text(read_manifest(outputs["benchmark"])["table"]))
    if "export" in outputs:
        print(how_to_use(outputs["export"]))


def overrides(settings: list[str], stage: str, stages: list[str]) -> list[str]:
    """The command-line arguments of one stage, from `--set stage.key=value`."""
    argv = []
    for setting in settings:
        name, dot, rest = setting.partition(".")
        key, equals, value = rest.partition("=")
        if name not in stages or not dot or not equals:
            raise RecipeError(f"--set: '{setting}' is not STAGE.KEY=VALUE with a stage of {', '.join(stages)}; "
                              "write for example train.max_steps=3.")
        argv += [f"--{key}", *value.split(",")] if name == stage else []
    return argv


if __name__ == "__main__":
    with one_sentence():
        main()
