"""Dataset folders in Hub layout, made from rows."""

import gzip
import json
from pathlib import Path

import yaml
from datasets import Dataset


def write_dataset(folder: Path, tables: dict, features=None) -> str:
    """Writes a folder that `load_dataset` reads and returns its path.

    Args:
        folder (`Path`): Where; made if need be.
        tables (`dict`): `{(config, split): rows}`, or `{"a/file.jsonl.gz": rows}` for files that no config names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    configs = {}
    for where, rows in tables.items():
        if isinstance(where, str):
            (folder / where).parent.mkdir(parents=True, exist_ok=True)
            with (gzip.open if where.endswith(".gz") else open)(folder / where, "wt", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            continue
        config, split = where
        (folder / config).mkdir(exist_ok=True)
        Dataset.from_list(rows, features=features).to_parquet(str(folder / config / f"{split}-00000-of-00001.parquet"))
        configs.setdefault(config, []).append({"split": split, "path": f"{config}/{split}-*.parquet"})
    if configs:
        named = [{"config_name": config, "data_files": files} for config, files in configs.items()]
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': named})}---\n")
    return str(folder)
