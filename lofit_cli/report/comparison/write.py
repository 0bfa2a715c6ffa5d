"""Everything that a comparison writes and prints."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from lofit_cli.analysis.comparison import ComparedSection
from lofit_cli.analysis.grouping import tell_apart
from lofit_cli.artifacts.evaluations import Evaluation
from lofit_cli.console import say
from lofit_cli.report.comparison.draws import draws_table, plot_draws
from lofit_cli.report.comparison.embedding import embed_questions
from lofit_cli.report.comparison.examples import examples_table
from lofit_cli.report.comparison.html import Behind, SectionFigures, write_html
from lofit_cli.report.comparison.interventions import collect_interventions
from lofit_cli.report.comparison.plots import plot_categories, plot_means
from lofit_cli.report.comparison.questions import LeftOut, collect_questions, describe_left_out
from lofit_cli.report.comparison.summary import summarise_sections, summary_table
from lofit_cli.report.comparison.tables import category_records, narrow_table, paper_table, wide_table
from lofit_cli.report.comparison.words import name_sections, named_rows
from lofit_cli.report.tables import show_table, write_csv, write_latex, write_markdown, write_tables


def write_comparison(sections: Sequence[ComparedSection], folder: Path) -> None:
    """Print the tables; write them as CSV, Markdown, LaTeX and figures, and all of it as `report.html`."""
    names, summaries = name_sections(sections), [summary_table(summary) for summary in summarise_sections(sections)]
    _write_sections(sections, folder)
    figures = [_plot(section, ending, folder) for section, ending in zip(sections, _file_endings(names), strict=True)]
    draws = [figure.among for figure in figures if figure.among]
    for tables, file in ((summaries, "summary"), (draws, "draws")):
        if tables:
            write_tables(tables, folder, file)
    questions, left_out = collect_questions(sections)
    _note_damaged(left_out)
    made = collect_interventions(_labelled_runs(names, sections))
    behind = Behind(embed_questions(names, sections, questions), describe_left_out(left_out), made)
    write_html(sections, names, figures, summaries, behind, folder / "report.html")
    for name, section, found in zip(names, sections, questions, strict=True):
        show_table(narrow_table(section))
        if examples := examples_table(name, section, found):
            show_table(examples)
    for table in (*draws, *summaries):
        show_table(table)
    say(f"report: {os.path.relpath(folder / 'report.html')}")


def _labelled_runs(names: Sequence[str], sections: Sequence[ComparedSection]) -> list[tuple[str, Evaluation]]:
    """Return each run with its section, row, fold and seed in words."""
    several = len(sections) > 1
    return [
        (f"{f'{name}: ' * several}{label}, fold {run.fold}, seed {run.seed}", run)
        for name, section in zip(names, sections, strict=True)
        for label, row in named_rows(section)
        for run in row.runs
    ]


def _note_damaged(left_out: LeftOut) -> None:
    """Say what the report can't show; one of many faults stands for all of them."""
    if left_out.damaged:
        more = f" (and {len(left_out.damaged) - 1} more like it)" if len(left_out.damaged) > 1 else ""
        say(f"note: the report lacks some texts: {left_out.damaged[0]}{more}")


def _write_sections(sections: Sequence[ComparedSection], folder: Path) -> None:
    wide = [wide_table(section) for section in sections]
    write_markdown(wide, folder / "comparison.md")
    write_latex([paper_table(section) for section in sections], folder / "comparison.tex")
    write_csv([record for table in wide for record in table.records], folder / "comparison.csv")
    write_csv([record for section in sections for record in category_records(section)], folder / "categories.csv")


def _file_endings(names: Sequence[str]) -> list[str]:
    """Return what tells the figures of several sections apart, of letters that any file system takes."""
    if len(names) == 1:
        return [""]
    return tell_apart([f"-{re.sub(r'[^a-zA-Z0-9_.]+', '-', name)}" for name in names], "{}-{}")


def _plot(section: ComparedSection, ending: str, folder: Path) -> SectionFigures:
    plots = {"comparison": plot_means, "categories": plot_categories, "draws": plot_draws}
    files = {name: folder / f"{name}{ending}.png" for name in plots}
    means, categories, draws = (files[name] if plot(section, files[name]) else None for name, plot in plots.items())
    return SectionFigures(means, categories, draws, draws_table(section))
