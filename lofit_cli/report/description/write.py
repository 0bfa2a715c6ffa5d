"""Everything that a description writes and prints, beside its numbers."""

import os
from pathlib import Path

from lofit_cli.artifacts.description import Descriptions
from lofit_cli.console import say
from lofit_cli.report.description.html import write_html
from lofit_cli.report.description.plots import plot_differences, plot_divergence
from lofit_cli.report.description.tables import (
    cosine_records,
    layer_records,
    shift_records,
    summary_table,
    token_records,
    tokens_table,
)
from lofit_cli.report.tables import show_table, write_csv, write_tables


def write_description(found: Descriptions, folder: Path) -> None:
    """Print the tables; write them as CSV, Markdown, LaTeX and figures, and all of it as `description.html`."""
    summary = summary_table(found)
    write_tables([summary], folder, "description")
    write_csv(token_records(found), folder / "tokens.csv")
    write_csv(layer_records(found), folder / "differences.csv")
    write_csv(shift_records(found), folder / "divergence.csv")
    write_csv(cosine_records(found), folder / "cosines.csv")
    plots = {
        "differences": ("Lengths of the differences by layer", plot_differences),
        "divergence": ("Divergence of the next tokens by position", plot_divergence),
    }
    drawn = [(title, file) for name, (title, plot) in plots.items() if plot(found, file := folder / f"{name}.png")]
    write_html(found, drawn, folder / "description.html")
    show_table(summary)
    show_table(tokens_table(found))
    say(f"description: {os.path.relpath(folder / 'description.html')}")
