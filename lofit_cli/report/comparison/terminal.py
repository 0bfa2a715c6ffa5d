"""A comparison in the terminal, in 80 columns."""

from rich.markup import escape
from rich.table import Table

from lofit_cli.analysis.comparison import ComparedSection
from lofit_cli.console import show
from lofit_cli.report.comparison.words import describe_row, describe_section, describe_tests, metric_cells


def print_section(section: ComparedSection) -> None:
    """Print a row a group whose cells hold a line a metric, so that the table fits 80 columns."""
    table = Table(title=escape(describe_section(section)), caption=describe_tests(section), show_lines=True)
    for header in ("run", "metric", "% [95 %]", "difference", "p"):
        table.add_column(header, no_wrap=header != "run", overflow="fold")
    for row in section.rows:
        cells = [metric_cells(metric, row.is_baseline) for metric in row.metrics.values()]
        about = map(escape, describe_row(row, section))
        names = "\n".join(name.upper() for name in row.metrics)
        columns = ("\n".join(column) for column in zip(*cells, strict=True))
        table.add_row("\n".join([f"[bold]{escape(row.label)}[/bold]", *about]), names, *columns)
    show(table)
