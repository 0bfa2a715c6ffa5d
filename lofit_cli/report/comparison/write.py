"""Everything that a comparison writes and prints."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lofit_cli.analysis.comparison import ComparedSection
from lofit_cli.artifacts.files import write_file
from lofit_cli.report.comparison.html import SectionFigures, write_html
from lofit_cli.report.comparison.plots import plot_categories, plot_means
from lofit_cli.report.comparison.summary import (
    Summary,
    latex_summary,
    markdown_summary,
    print_summary,
    summarise_sections,
    summary_records,
)
from lofit_cli.report.comparison.tables import category_records, markdown_section, section_records, write_csv
from lofit_cli.report.comparison.terminal import print_section
from lofit_cli.report.comparison.words import name_sections
from lofit_cli.report.latex import latex_section


def write_comparison(sections: Sequence[ComparedSection], folder: Path) -> None:
    """Print the tables; write them as CSV, Markdown, LaTeX and figures, and all of it as `report.html`."""
    names, summaries = name_sections(sections), summarise_sections(sections)
    _write_tables("comparison", sections, section_records, markdown_section, latex_section, folder)
    if summaries:
        _write_tables("summary", summaries, summary_records, markdown_summary, latex_summary, folder)
    records = [record for section in sections for record in category_records(section)]
    write_file(folder / "categories.csv", lambda path: write_csv(path, records))
    endings = [f"-{re.sub(r'[^a-zA-Z0-9_.]+', '-', name)}" for name in names] if len(names) > 1 else [""]
    figures = [_plot(section, ending, folder) for section, ending in zip(sections, endings, strict=True)]
    write_html(sections, names, figures, summaries, folder / "report.html")
    _print(sections, summaries)


def _write_tables(
    name: str,
    parts: Sequence[Any],
    records: Callable[[Any], list[dict[str, Any]]],
    markdown: Callable[[Any], str],
    latex: Callable[[Any], str],
    folder: Path,
) -> None:
    """Write the parts of a table one below another, in each of its three forms."""
    rows = [record for part in parts for record in records(part)]
    write_file(folder / f"{name}.csv", lambda path: write_csv(path, rows))
    text = "\n\n".join(map(markdown, parts)) + "\n"
    write_file(folder / f"{name}.md", lambda path: path.write_text(text, encoding="utf-8"))
    source = "% \\usepackage{booktabs}\n" + "\n".join(map(latex, parts))
    write_file(folder / f"{name}.tex", lambda path: path.write_text(source, encoding="utf-8"))


def _plot(section: ComparedSection, ending: str, folder: Path) -> SectionFigures:
    means, categories = folder / f"comparison{ending}.png", folder / f"categories{ending}.png"
    return SectionFigures(
        means if plot_means(section, means) else None, categories if plot_categories(section, categories) else None
    )


def _print(sections: Sequence[ComparedSection], summaries: Sequence[Summary]) -> None:
    for section in sections:
        print_section(section)
    for summary in summaries:
        print_summary(summary)
