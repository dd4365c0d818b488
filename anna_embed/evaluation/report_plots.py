"""How the report's pictures look, and the parts that its page is made of."""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import matplotlib
import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision tell apart; shape or line style says it once more.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY, BLACK = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7",
                                                            "#56B4E9", "#8A8A8A", "#222222")
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.labelsize": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#666666", "axes.grid": True, "axes.axisbelow": True, "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8, "xtick.color": "#444444", "ytick.color": "#444444", "legend.frameon": False,
    "legend.fontsize": 8.5, "lines.linewidth": 1.6, "lines.markersize": 4, "figure.facecolor": "white",
    "svg.hashsalt": "anna_embed",  # the same picture is the same file
}
WIDTH = 10.0  # inches; the page shows it at its own width
RASTER = 140  # dots per inch of point clouds inside the vector graphics


@dataclass
class Picture:
    """A picture ready for the page: `data:` address, what it shows for those who cannot see it, and its caption."""

    source: str
    alt: str
    caption: str


@dataclass
class Table:
    """Rows of text under a header."""

    header: list[str]
    rows: list[list[str]]
    caption: str = ""

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers, which are set to the right."""
        cells = [row[column] for row in self.rows if row[column]]
        return bool(cells) and all(re.fullmatch(r"[-+]?[\d,.]+( s| min| h|%)?", cell) for cell in cells)


@dataclass
class Section:
    """A part of the page; `parts` are paragraphs (strings), pictures and tables in order."""

    title: str
    parts: list[str | Picture | Table] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return self.title.lower().replace(" ", "-")


@contextmanager
def panels(rows: int, columns: int, height: float, **how) -> Iterator[tuple[Figure, np.ndarray]]:
    """A figure of `rows` x `columns` axes, each row `height` inches high, in the report's style."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, rows * height), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.09, w_pad=0.06)  # inches, between the panels
        yield figure, figure.subplots(rows, columns, squeeze=False, **how)


def picture(figure: Figure, alt: str, caption: str) -> Picture:
    """The figure as an inline SVG; point clouds in it are pixels."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", dpi=RASTER, metadata={"Date": None})
    encoded = base64.b64encode(stream.getvalue()).decode()
    return Picture(f"data:image/svg+xml;base64,{encoded}", alt, caption)


def legend_below(figure: Figure, handles, labels, columns: int | None = None) -> None:
    """One legend for all axes, outside of them, so that it hides no data."""
    figure.legend(handles, labels, loc="outside lower center", ncols=columns or len(labels))


def number(value: float) -> str:
    """A number as people read it."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
