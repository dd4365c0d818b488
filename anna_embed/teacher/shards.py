"""Shards of a stage's work: each process takes its part of them, and a kill loses no more than the one it is at."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import torch
from accelerate import PartialState
from datasets import Dataset, Features
from tqdm import tqdm

from anna_embed.parsing import RecipeError
from anna_embed.tables import from_rows, write_split
from anna_embed.writer import put


class Processes:
    """The processes of a run: one, or as many as `accelerate launch` started.

    Args:
        note (`Path`): Where a process writes what it found wrong, for the others; the same file for all.
    """

    def __init__(self, note: Path):
        # Several processes on a CPU are only several if that is asked for; one may wait as long as the others work.
        self.state = PartialState(cpu=not torch.accelerator.is_available(), timeout=timedelta(days=30))
        self.note = note

    @contextmanager
    def together(self) -> Iterator[None]:
        """A step that all begin and end together; what one finds wrong stops each at its next shard.

        Raises:
            [`RecipeError`]: one of them raised it.
        """
        if self.state.is_main_process:
            self.note.unlink(missing_ok=True)
        self.state.wait_for_everyone()
        try:
            yield
        except RecipeError as error:
            self.note.parent.mkdir(parents=True, exist_ok=True)
            self.note.write_text(str(error), encoding="utf-8")
        self.state.wait_for_everyone()
        if self.note.is_file():
            raise RecipeError(self.note.read_text(encoding="utf-8"))

    def share(self, paths: list[Path], sizes: list[int], description: str, unit: str) -> Iterator[int]:
        """The numbers of those shards that are this process's and not done, with a bar over the shards of all.

        Args:
            paths (`list[Path]`): The file of each shard, which is there when the shard is done.
            sizes (`list[int]`): How much is in each; the bar's time to go is by that.
            description, unit (`str`): What is done to what.
        """
        def done():
            return sum(size for path, size in zip(paths, sizes) if path.is_file())

        silent = {} if self.state.is_main_process else {"disable": True}
        with tqdm(total=sum(sizes), initial=done(), desc=description, unit=unit, **silent) as bar:
            for number in range(self.state.process_index, len(paths), self.state.num_processes):
                if self.note.is_file():
                    return
                if not paths[number].is_file():
                    yield number
                    bar.update(done() - bar.n)

    def write_rows(self, work: Path, task: str, count: int, size: int, make: Callable[[slice], tuple],
                   features: Features, description: str, unit: str) -> tuple[int, Counter]:
        """Makes the rows of a task shard by shard, then writes them as its split `train`; never all are in memory.

        Args:
            work (`Path`): The folder that the stage writes into; the shards are in `.shards` below it.
            task (`str`): The task.
            count, size (`int`): Of what rows are made from: how many, and how many a shard.
            make (`Callable`): From a part of those to `(rows, counts of what happened)`; rows may be an Arrow table.
            features (`Features`): Of the rows.
            description, unit (`str`): As for `share`.

        Returns:
            `tuple[int, Counter]`: rows written (0 but in the main process), and the sum of the counts.
        """
        starts, written, folder = range(0, count, size), 0, work / ".shards" / task
        paths = [folder / f"{number:05d}.arrow" for number in range(len(starts))]
        notes = [path.with_suffix(".json") for path in paths]
        folder.mkdir(parents=True, exist_ok=True)
        with self.together():
            sizes = [min(size, count - first) for first in starts]
            for number in self.share(paths, sizes, description, unit):
                rows, counts = make(slice(starts[number], starts[number] + sizes[number]))
                partial = notes[number].with_suffix(".json.tmp")
                partial.write_text(json.dumps(counts), encoding="utf-8")
                put(partial, notes[number])
                table = rows if isinstance(rows, pa.Table) else from_rows(rows, features).data.table
                _write_arrow(paths[number], [table], features, "lz4")  # last: it says that the shard is done
        with self.together():
            if self.state.is_main_process:
                _write_arrow(folder / "all.arrow", map(_read_arrow, paths), features)
                written = write_split(work, task, "train", Dataset.from_file(str(folder / "all.arrow")), features)
        counts = Counter()
        for note in notes:
            counts.update(json.loads(note.read_text(encoding="utf-8")))  # a sum of counters would lose the zeros
        return written, counts


def _write_arrow(path: Path, tables: Iterable[pa.Table], features: Features, compression: str | None = None) -> None:
    """Writes an Arrow stream; the file appears whole or not at all. Without compression it can be mapped."""
    partial, options = path.with_suffix(".tmp"), pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(partial), "wb") as file, \
            pa.ipc.new_stream(file, features.arrow_schema, options=options) as stream:
        for table in tables:
            stream.write_table(table)
    put(partial, path)


def _read_arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_stream(file).read_all()
