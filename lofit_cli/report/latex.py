"""A comparison as LaTeX tables for a paper; they need the package booktabs."""

from collections.abc import Sequence

from lofit_cli.analysis.comparison import ComparedMetric, ComparedRow, ComparedSection
from lofit_cli.report.comparison.words import describe_section, describe_tests, interval_cell, name_row, percent

SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "·": r"$\cdot$",
}
STAR_NOTE = r"$^{*}$: $p < 0.05$ after Holm's correction."


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(character, character) for character in text)


def latex_section(section: ComparedSection) -> str:
    """Return a table with the best mean of each metric in bold and a star at each significant difference.

    Only rows of all the table's folds can be best.
    """
    full = [row for row in section.rows if row.folds == section.folds]
    best = {name: max((row.metrics[name].mean for row in full), default=None) for name in section.metrics}
    header = ["", *(f"{escape_latex(name.upper())} (\\%) & difference" for name in section.metrics)]
    lines = [
        " & ".join(
            [
                escape_latex(name_row(row, section)),
                *(_cells(m, row, row in full and m.mean == best[name]) for name, m in row.metrics.items()),
            ]
        )
        for row in section.rows
    ]
    caption = f"{escape_latex(describe_section(section))}. 95\\,\\% intervals. {STAR_NOTE} "
    return latex_table(
        "l" + "rl" * len(section.metrics), " & ".join(header), lines, caption + escape_latex(describe_tests(section))
    )


def latex_table(columns: str, header: str, lines: Sequence[str], caption: str) -> str:
    """Return a table of lines whose cells are LaTeX already."""
    body = " \\\\\n".join(lines)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{caption.strip()}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{header} \\\\\n\\midrule\n{body} \\\\\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def bold_if(text: str, is_best: bool) -> str:
    """Return LaTeX text, in bold where it is the best."""
    return f"\\textbf{{{text}}}" if is_best else text


def _cells(metric: ComparedMetric, row: ComparedRow, is_best: bool) -> str:
    # A bracket after the end of a line would be read as that line's skip, so intervals stand in braces.
    mean = f"{bold_if(percent(metric.mean), is_best)} {{{interval_cell(metric.interval)}}}"
    if metric.paired is None:
        return f"{mean} & {'baseline' if row.is_baseline else ''}"
    star = "^{*}" if metric.is_significant else ""
    difference = f"${100 * metric.paired.difference:+.1f}{star}$"
    return f"{mean} & {difference} {{{interval_cell(metric.paired.interval)}}}"
