"""LoFiT's Figure 2 from finished runs (scripts/reproduce/figure2.sh): the heads of one task, tuned for another.

python scripts/reproduce/figure2.py runs/paper/smollm2 truthfulqa mquake clutrr
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import typer

from lofit_cli.console import say
from lofit_cli.errors import UserError
from lofit_cli.paper.figures import Matrix, plot_matrices
from lofit_cli.paper.transfer import RANDOM, ScoredTransfer, read_transfers, score_transfers
from lofit_cli.report.tables import Table, left_and_right, show_table, write_tables

Cells = dict[tuple[str, str], ScoredTransfer]
NOTE = (
    "In percent. Worse than the target's own heads: * p < 0.05, + p < 0.1 (sign flips, one-sided). A cell is of the "
    "folds that those were measured on as well; it names its folds where others of its column have more."
)


def cell_text(cells: Cells, source: str, target: str) -> str:
    """Return a score in percent with its mark, and its folds where the column has more; blank where there is no run."""
    if (found := cells.get((source, target))) is None:
        return ""
    whole = {fold for cell in cells.values() if cell.target == target for fold in cell.folds}
    folds = f" (fold {','.join(map(str, found.folds))})" if set(found.folds) != whole else ""
    return f"{100 * found.mean:.1f}{found.mark}{folds}"


def draw(cells: Cells, tasks: list[str], file: Path) -> None:
    """Write the heat map, coloured by the difference to the target's own heads."""
    sources = [*tasks, RANDOM]

    def difference(source: str, target: str) -> float:
        found = cells.get((source, target))
        return np.nan if found is None or found.difference is None else found.difference

    values = np.array([[difference(source, target) for target in tasks] for source in sources])
    texts = [[cell_text(cells, source, target) for target in tasks] for source in sources]
    plot_matrices([Matrix("heads of (row), tuned for (column)", sources, tasks, values, texts)], file)


def main(folder: Path, tasks: list[str], out: Path | None = None, num_resamples: int = 10_000, seed: int = 42) -> None:
    """Show how well heads selected for one task serve another."""
    out = out or folder / "figure2"
    try:
        cells = {
            (cell.source, cell.target): cell
            for cell in score_transfers(read_transfers(folder, tasks), num_resamples, seed)
        }
        metrics = {cell.target: cell.metric.upper() for cell in cells.values()}
        headers = ["heads of", *(f"{task} {metrics.get(task, '')}".strip() for task in tasks)]
        lines = [[source, *(cell_text(cells, source, target) for target in tasks)] for source in (*tasks, RANDOM)]
        title = "Heads selected for one task, tuned for another"
        records = [asdict(cell) | {"folds": " ".join(map(str, cell.folds))} for cell in cells.values()]
        table = Table(title, left_and_right(*headers), lines, NOTE, records)
        write_tables([table], out, "figure2")
        draw(cells, tasks, out / "figure2.png")
        show_table(table)
    except UserError as error:
        say(f"figure2: {error}")
        raise typer.Exit(error.exit_code)


if __name__ == "__main__":
    typer.run(main)
