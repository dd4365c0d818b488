"""Training in pictures, from `adapter/training_log.json`."""

import json
import math
from pathlib import Path

from anna_embed.artifacts import LOG, read_manifest
from anna_embed.evaluation.report_plots import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, Picture
from anna_embed.evaluation.report_plots import Section, number, panels, picture

# Panel by panel: title, label of the axis, and column, name, colour, marker of each line.
CURVES = (
    ("Loss", "nats", (("loss", "all parts", BLACK, "o"), ("loss_hard", "InfoNCE", BLUE, "s"),
                      ("loss_soft", "distillation (KL)", VERMILION, "^"), ("loss_cosent", "CoSENT", GREEN, "D"),
                      ("loss_guide", "guide (KL)", PURPLE, "v"),
                      ("loss_guide_soft", "softer guide (KL)", ORANGE, "x"))),
    ("Soft labels", "share of uniform", (("target_entropy", "target entropy", PURPLE, "o"),)),
    ("Gradient", "norm, before clipping", (("grad_norm", "gradient norm", BLUE, "o"),)),
    ("Learning rate", "", (("learning_rate", "learning rate", GREEN, "o"),)),
    ("Speed", "tokens per second", (("tokens_per_second", "tokens per second", ORANGE, "o"),)),
    ("Packing", "share of tokens", (("distinct_share", "distinct tokens", SKY, "o"),)),
)
SHARES = ("Soft labels", "Packing")  # panels that end at 1
EVALUATION_COLOURS = ((BLUE, "o"), (VERMILION, "^"), (GREEN, "s"), (ORANGE, "D"), (PURPLE, "v"), (GREY, "x"))


def training(adapter: Path) -> Section | None:
    """The curves of a training run; None if it left no log."""
    file = adapter / LOG
    log = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    if not any("loss" in row for row in log):
        return None
    return Section("Training", [_summary(log, read_manifest(adapter)), _curves(log)])


def _summary(log, manifest) -> str:
    how, losses = manifest["training"], [row for row in log if "loss" in row]
    seconds = how["final"].get("train_runtime")
    said = f"{number(how['steps'])} steps on {how['processes']} process{'es' if how['processes'] > 1 else ''}"
    last = f", the last {number(how['steps'] - how['resumed_at'])} of them" if "resumed_at" in how else ""
    said += f"{last} in {seconds / 60:.1f} minutes" if seconds else ""
    first = f"{losses[0]['loss']:.2f} (mean of steps 1 to {losses[0]['step']})"
    course = f"was {first}" if len(losses) == 1 else (
        f"went from {first} to {losses[-1]['loss']:.2f} (steps {losses[-2]['step'] + 1} to {losses[-1]['step']})")
    return f"{said}, from {manifest['base_model']['name']}. The loss {course}."


def _curves(log) -> Picture:
    scores, left_out = _evaluations(log)
    shown = [curve for curve in CURVES if any(_points(log, column)[0] for column, *_ in curve[2])]
    shown += [("Held-out rows during training", "score", scores)] if scores else []
    columns = min(3, len(shown))
    with panels(math.ceil(len(shown) / columns), columns, 2.7) as (figure, axes):
        for axis, (title, label, lines) in zip(axes.flat, shown):
            for column, name, colour, marker in lines:
                steps, values = _points(log, column)
                if steps:
                    axis.plot(steps, values, color=colour, marker=marker, label=name)
            axis.set(title=title, ylabel=label, xlabel="step")
            axis.set_xlim(left=0)
            low, high = axis.dataLim.intervaly
            room = 1.4 if len(lines) > 1 else 1.05  # for the legend, so that it hides no point
            axis.set_ylim(1.05 * min(0, low), 1.02 if title in SHARES else room * high)
            axis.yaxis.set_major_formatter("{x:g}")
            if len(lines) > 1:
                axis.legend(loc="upper right", ncols=2, columnspacing=1)
        for axis in axes.flat[len(shown):]:
            axis.set_axis_off()
        return picture(
            figure, "Curves of " + ", ".join(title.lower() for title, *_ in shown) + " over the training steps.",
            "Losses, entropy, speed and packing are means over the steps since the point before; gradient norm and "
            "learning rate are of the step itself. All axes start at zero, or below it where a value is. A step "
            "holds one task, and each part of the loss is the mean over the steps that have it: so the parts do not "
            "add up. Target entropy: 1 is a uniform teacher, which teaches nothing, 0 one that is sure. Packing: the "
            "share of tokens that were computed; the others are prefixes and texts that stand in the same row "
            "already. Speed counts computed tokens."
            + (f" {left_out} more scores of held-out rows are in {LOG} only." if left_out else ""))


def _points(log, column):
    rows = [row for row in log if isinstance(row.get(column), (int, float)) and math.isfinite(row[column])]
    return [row["step"] for row in rows], [row[column] for row in rows]


def _evaluations(log):
    """Scores on held-out rows during training: what the Trainer logs under `eval_`, times and losses left out, the
    mean first; as many as can be told apart, and how many there are more."""
    names = dict.fromkeys(key for row in log for key in row if key.startswith("eval_"))
    left_out = ("runtime", "per_second", "loss", "model_preparation_time")
    scores = sorted((name for name in names if not name.endswith(left_out)), key=lambda name: name != "eval_mean")
    return [(name, name.removeprefix("eval_").replace("_", " "), *look)
            for name, look in zip(scores, EVALUATION_COLOURS)], max(0, len(scores) - len(EVALUATION_COLOURS))
