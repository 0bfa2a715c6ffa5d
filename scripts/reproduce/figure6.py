"""LoFiT's Figure 6 from finished selections (scripts/reproduce/figure6.sh) or from the authors' lists of heads.

python scripts/reproduce/figure6.py --folder runs/paper/smollm2 truthfulqa mquake clutrr
python scripts/reproduce/figure6.py --authors author_heads.json --model llama2-7b --num-heads 32
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from lofit_cli.errors import UserError
from lofit_cli.paper.figures import Matrix, plot_matrices
from lofit_cli.paper.overlap import Overlap, draw_selections, overlap_groups
from lofit_cli.paper.selections import Selection, read_author_lists, read_selections
from lofit_cli.report.tables import Table, left_and_right, show_table, write_tables

AUTHORS = Path("runs/authors")
NumHeads = Annotated[int, typer.Option(min=1, help="How many of the heads that --authors lists.")]
Tasks = Annotated[list[str] | None, typer.Argument(help="Tasks, in the order shown.")]
Overlaps = dict[tuple[str, str], Overlap | None]

MEASURES = {
    "shared": "shared heads (the paper's Jaccard)",
    "jaccard": "Jaccard similarity",
    "layer_distance": "earth mover's distance (layers)",
}
SHORT = {"shared": "shared", "jaccard": "Jaccard", "layer_distance": "distance"}
NOTE = (
    "Means over pairs of selections: of two tasks, or on the diagonal of two seeds of one task. shared: |A n B| / |A|, "
    "which the paper calls Jaccard; Jaccard: |A n B| / |A u B|; distance: earth mover's, between layers."
)


def read_groups(folder: Path, tasks: list[str]) -> dict[str, list[Selection]]:
    """Return each task's selections and those at random, of which each task's folder has the same."""
    return {task: read_selections(folder, task) for task in tasks} | {
        "random": read_selections(folder, tasks[0], "random")
    }


def read_lists(file: Path, model: str, num_heads: int, tasks: list[str]) -> dict[str, list[Selection]]:
    """Return the authors' selections, and one drawn at random."""
    groups = read_author_lists(file, model, num_heads, tasks)
    return groups | {"random": draw_selections(groups[tasks[0]])}


def matrix(overlaps: Overlaps, names: list[str], measure: str) -> Matrix:
    """Return the heat map of a measure, blank where there is no pair."""
    rows = [[getattr(overlaps[a, b], measure, np.nan) for b in names] for a in names]
    texts = [["" if np.isnan(value) else f"{value:.2f}" for value in row] for row in rows]
    return Matrix(MEASURES[measure], names, names, np.array(rows), texts)


def write_figure(groups: dict[str, list[Selection]], folder: Path) -> None:
    """Write figure6.png and the numbers behind it."""
    overlaps, names = overlap_groups(groups), list(groups)
    matrices = {measure: matrix(overlaps, names, measure) for measure in MEASURES}
    plot_matrices(list(matrices.values()), folder / "figure6.png")
    lines = [
        [SHORT[measure], a, *row] for measure in MEASURES for a, row in zip(names, matrices[measure].texts, strict=True)
    ]
    records = [{"first": a, "second": b, **asdict(found)} for (a, b), found in overlaps.items() if found]
    table = Table("Overlap of head selections", left_and_right("measure", "", *names), lines, NOTE, records)
    write_tables([table], folder, "figure6")
    show_table(table)


def main(
    tasks: Tasks = None,
    folder: Path = Path("runs/paper/smollm2"),
    authors: Path | None = None,
    model: str = "llama2-7b",
    num_heads: NumHeads = 32,
    out: Path | None = None,
) -> None:
    """Show how alike the heads of tasks, of seeds and of chance are."""
    tasks = tasks or ["truthfulqa", "mquake", "clutrr"]
    try:
        groups = read_lists(authors, model, num_heads, tasks) if authors else read_groups(folder, tasks)
        write_figure(groups, out or (AUTHORS if authors else folder) / "figure6")
    except UserError as error:
        typer.echo(f"figure6: {error}", err=True)
        raise typer.Exit(error.exit_code)


if __name__ == "__main__":
    typer.run(main)
