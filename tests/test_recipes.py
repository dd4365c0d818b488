"""What a recipe or a page of documentation says can be run: every YAML file, every command, every import."""

import argparse
import ast
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType
from recipes.run import STAGES, arguments, overrides, stages_of, types_of
from transformers import TrainingArguments

from anna_embed.config import PublishConfig
from anna_embed.parsing import RecipeError, parse
from anna_embed.training.arguments import Arguments

ROOT = Path(__file__).parents[1]
RECIPES = sorted(p for p in (ROOT / "recipes").rglob("*.yaml") if p.parent.name != "accelerate")
HARDWARE = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))
SCRIPTS = sorted(p for p in (ROOT / "recipes").rglob("*.py") if p.name != "__init__.py")
PACKAGE = sorted((ROOT / "anna_embed").rglob("*.py"))


def keys_of(path: Path, *more: str):
    """Parses a recipe's file as its script does."""
    stage = path.stem
    types = (PublishConfig,) if stage == "publish" else types_of(stage)
    return parse(types, ["--config", str(path), *more])


def test_there_are_recipes():
    """If this fails, the tests below pass because they look at nothing."""
    assert len(RECIPES) >= 13 and len(HARDWARE) >= 4 and len(SCRIPTS) >= 10 and len(PACKAGE) >= 50


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_recipe_parses(path):
    """If this fails, a recipe stops at its first line, or a key in it is spelled in a way that nothing reads."""
    config, *_, given = keys_of(path)
    stated = yaml.safe_load(path.read_text())
    assert set(stated) <= set(given) and config.artifacts == stated["artifacts"]


def test_stages_of_one_recipe_share_a_folder():
    """If this fails, a stage looks for its input where no other stage has put it."""
    folders = {path.parent for path in RECIPES}
    for folder in folders:
        assert len({keys_of(path)[0].artifacts for path in RECIPES if path.parent == folder}) == 1, folder


@pytest.mark.parametrize("told, there, cpu", [("true", True, True), ("false", True, False), ("false", False, True)])
def test_a_recipe_runs_on_what_there_is(monkeypatch, told, there, cpu):
    """If this fails, a GPU idles beside its recipe, or bf16 is refused where there is none."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", told)  # as accelerate's hardware file sets it
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there)
    monkeypatch.setattr(TrainingArguments, "__post_init__", lambda self: None)
    assert Arguments("unused", bf16=True).use_cpu == cpu
    assert not [path for path in RECIPES if "use_cpu" in path.read_text()]


@pytest.mark.parametrize("path", HARDWARE, ids=lambda path: path.name)
def test_every_hardware_file_loads(path):
    """If this fails, `accelerate launch` refuses the file, or starts fewer processes than its name says."""
    config = load_config_from_file(str(path))
    several = config.num_processes > 1
    assert config.num_processes == int(re.search(r"\d+$", path.stem).group())
    assert config.use_cpu == path.stem.startswith("cpu")
    # MULTI_CPU falls through to one process; MULTI_GPU with use_cpu is what starts several over gloo
    assert config.distributed_type == (DistributedType.MULTI_GPU if several else DistributedType.NO)


# ---- commands ------------------------------------------------------------------------------------------------------

def commands() -> list[tuple[str, str]]:
    """Every command in a shell block of a README or in a docstring of something that is run with -m."""
    readmes = [ROOT / "README.md", *sorted((ROOT / "recipes").rglob("README.md")), ROOT / "benchmarks" / "README.md"]
    found = [(path.relative_to(ROOT).as_posix(), line) for path in readmes
             for block in re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.S)
             for line in block.replace("\\\n", "").splitlines()
             if re.search(r"^(\w+=\S+ )?(\S*/)?(python|accelerate|make)\S* ", line)]
    for path in (*SCRIPTS, ROOT / "anna_embed" / "__main__.py"):
        lines = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()
        found += [(path.relative_to(ROOT).as_posix(), line.strip()) for line in lines
                  if line.startswith("    ") and re.match(r"(python|accelerate) ", line.strip())]
    return found


class Parsed(Exception):
    """Ends a script's main behind its command line."""


def parse_only(module, argv, monkeypatch):
    """Runs a script with a parser of its own up to its parsed arguments."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self, *args, **kwargs):
        original(self, *args, **kwargs)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "argv", ["-m", *argv])
    with pytest.raises(Parsed):
        importlib.import_module(module).main()


@pytest.mark.parametrize("where, command", commands(), ids=lambda value: value[:60])
def test_every_command_parses(where, command, monkeypatch):
    """If this fails, somebody copies a line from the documentation and it does not run."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(words[1:]) <= set(targets)
        return
    module, argv = words[words.index("-m") + 1], words[words.index("-m") + 2:]
    if "accelerate" in words[0]:
        assert (ROOT / words[words.index("--config_file") + 1]).is_file()
    name = module.partition(".")[2]
    assert importlib.util.find_spec(module) and (ROOT / module.replace(".", "/")).parent.is_dir()
    if name == "run":
        options = arguments().parse_args(argv)
        overrides(options.set, "train", {stage: types_of(stage) for stage in stages_of(ROOT / options.recipe)})
        assert options.accelerate is None or (ROOT / options.accelerate).is_file()
    elif name in STAGES or name == "publish":
        argv = [str(ROOT / word) if before == "--config" else word for before, word in zip(["", *argv], argv)]
        parse((PublishConfig,) if name == "publish" else types_of(name), argv)
    elif module.startswith("benchmarks."):
        for one in ("encode", "train_step"):
            monkeypatch.setattr(f"benchmarks.{one}.find_spec", bool)  # the peer is installed apart
        parse(importlib.import_module(module).Settings, argv)
    else:
        parse_only("anna_embed.__main__" if module == "anna_embed" else module, argv, monkeypatch)


def test_there_are_commands():
    """If this fails, the test above looks at nothing."""
    found = commands()
    assert len([c for c in found if c[0] == "README.md"]) >= 10
    assert {where for where, _ in found} >= {f"recipes/{stage}.py" for stage in [*STAGES, "publish", "run"]}


@pytest.mark.parametrize("argv", [["--sed", "1"], ["--num_negatives", "many"], ["--config", "no.yaml"]])
def test_a_wrong_command_does_not_parse(argv):
    """If this fails, the test of all commands would pass whatever they say."""
    with pytest.raises(RecipeError, match="unknown key 'sed'|num_negatives: 'many'|no file 'no.yaml'"):
        parse(types_of("mine"), ["--artifacts", "x", *argv])


# ---- the house -----------------------------------------------------------------------------------------------------

ABOVE = {"engine": set(), "data": set(), "teacher": set(), "hub": set(), "training": {"engine"}, "model": {"engine"},
         "evaluation": {"model"}}


def imported_by(path: Path) -> set[str]:
    """The modules of this repository that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            parts = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
            found.add(".".join([*parts, *([node.module] if node.module else [])]))
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name.split(".")[0] in ("anna_embed", "recipes", "tests")}


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path):
    """If this fails, a part can no longer be understood, tested or replaced without the parts above it."""
    if path.parent == ROOT / "anna_embed" and path.name in ("__main__.py", "__init__.py"):
        return  # the two front doors
    own = path.relative_to(ROOT / "anna_embed").parts
    part = own[0] if len(own) > 1 and own[0] in ABOVE else "ground floor"
    allowed = {part, *ABOVE.get(part, set())}
    used = imported_by(path)
    assert not any(name.startswith(("recipes", "tests")) for name in used)
    above = {name.split(".")[1] for name in used if name.count(".")} & set(ABOVE)
    assert above <= allowed, f"{part} imports {', '.join(sorted(above - allowed))}"


def test_every_part_has_its_rule():
    """If this fails, a new folder of the package may import what it likes."""
    inside = [path.relative_to(ROOT / "anna_embed") for path in PACKAGE if path.parent != ROOT / "anna_embed"]
    parts = {path.parts[0] for path in inside}
    assert parts == {*ABOVE, "config"}
    assert "anna_embed.engine.packing" in imported_by(ROOT / "anna_embed" / "engine" / "embedding.py")


@pytest.mark.parametrize("path", [*PACKAGE, *SCRIPTS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_has_one_job(path):
    """If this fails, a file has grown beyond what one reads at a sitting: split it by noun."""
    assert path.stem != "utils" and (path.name == "sources.py" or len(path.read_text().splitlines()) <= 220)
