"""LoFiT's Figure 3 from finished selections (scripts/reproduce/figure3.sh) or from the authors' lists of heads.

python scripts/reproduce/figure3.py --folder runs/paper/smollm2 truthfulqa mquake clutrr
python scripts/reproduce/figure3.py --authors author_heads.json --model llama2-7b --num-heads 32
"""

from pathlib import Path
from typing import Annotated

import typer

from lofit_cli.errors import UserError
from lofit_cli.paper.figures import plot_layer_shares
from lofit_cli.paper.layers import layer_shares
from lofit_cli.paper.selections import Selection, read_author_lists, read_selections
from lofit_cli.report.tables import Table, left_and_right, show_table, write_tables

AUTHORS = Path("runs/authors")
NumHeads = Annotated[int, typer.Option(min=1, help="How many of the heads that --authors lists.")]
Tasks = Annotated[list[str] | None, typer.Argument(help="Tasks, in the order shown.")]


def write_figure(groups: dict[str, list[Selection]], folder: Path) -> None:
    """Write figure3.png and the numbers behind it, as shares of a task's heads."""
    shares = {task: layer_shares(selections) for task, selections in groups.items()}
    num_selections = sum(map(len, groups.values()))
    title = f"Selected heads by layer, {num_selections} selections"
    lines = [
        [str(layer), *(f"{100 * share:.1f}" for share in of_tasks)]
        for layer, of_tasks in enumerate(zip(*shares.values(), strict=True))
    ]
    records = [
        {"task": task, "layer": layer, "share": share}
        for task, of_layers in shares.items()
        for layer, share in enumerate(of_layers)
    ]
    note = "% of the heads selected for a task, mean over folds and seeds"
    table = Table(title, left_and_right("layer", *shares), lines, note, records)
    write_tables([table], folder, "figure3")
    plot_layer_shares(shares, title, folder / "figure3.png")
    show_table(table)


def main(
    tasks: Tasks = None,
    folder: Path = Path("runs/paper/smollm2"),
    authors: Path | None = None,
    model: str = "llama2-7b",
    num_heads: NumHeads = 32,
    out: Path | None = None,
) -> None:
    """Show which layers the heads of each task are in."""
    tasks = tasks or ["truthfulqa", "mquake", "clutrr"]
    try:
        if authors:
            groups = read_author_lists(authors, model, num_heads, tasks)
        else:
            groups = {task: read_selections(folder, task) for task in tasks}
        write_figure(groups, out or (AUTHORS if authors else folder) / "figure3")
    except UserError as error:
        typer.echo(f"figure3: {error}", err=True)
        raise typer.Exit(error.exit_code)


if __name__ == "__main__":
    typer.run(main)
