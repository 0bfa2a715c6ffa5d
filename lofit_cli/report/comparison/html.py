"""A comparison as one HTML file that needs nothing beside it: its script and its figures are inside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from lofit_cli import __version__
from lofit_cli.analysis.categories import FEWEST_QUESTIONS
from lofit_cli.analysis.comparison import ComparedSection
from lofit_cli.analysis.pooling import describe_coverage
from lofit_cli.artifacts.evaluations import Evaluation
from lofit_cli.artifacts.files import write_file
from lofit_cli.artifacts.predictions import IDEALS
from lofit_cli.report.comparison.drawings import colour_ramp, draw_curve, draw_heat_map
from lofit_cli.report.comparison.interventions import MadeIntervention
from lofit_cli.report.comparison.questions import Notice
from lofit_cli.report.comparison.words import (
    amount,
    describe_caveats,
    describe_cost,
    describe_section,
    describe_tests,
    difference_text,
    interval_text,
    named_rows,
    p_text,
    parameter_count,
    spread_text,
)
from lofit_cli.report.pages import inline_png, new_environment
from lofit_cli.report.tables import Table

TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class SectionFigures:
    """The PNG files of a section; None where there was nothing to show, or it could not be drawn.

    Attributes:
        among: the table that goes with the picture of the draws; None without draws.
    """

    means: Path | None
    categories: Path | None
    draws: Path | None
    among: Table | None


@dataclass(frozen=True)
class Behind:
    """What stands behind the numbers.

    Attributes:
        questions: as JSON; empty where none could be read.
        left_out: what of them is not shown.
        interventions: how each one was made.
    """

    questions: Markup
    left_out: Sequence[Notice]
    interventions: Sequence[MadeIntervention]


def write_html(
    sections: Sequence[ComparedSection],
    names: Sequence[str],
    figures: Sequence[SectionFigures],
    summaries: Sequence[Table],
    behind: Behind,
    file: Path,
) -> None:
    """Write the report.

    Args:
        names: a short name for each section.
        figures: each section's.
        summaries: several sections side by side.
        behind: what stands behind the numbers.
    """
    page = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            sections=list(zip(names, sections, figures, strict=True)),
            summaries=summaries,
            behind=behind,
            fewest_questions=FEWEST_QUESTIONS,
            ideals=IDEALS,
            runs=[run for section in sections for run in section.runs],
            facts=_provenance([run for section in sections for run in section.runs]),
            version=__version__,
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
    )
    write_file(file, lambda path: path.write_text(page, encoding="utf-8"))


def _environment() -> Environment:
    environment = new_environment("lofit_cli.report.comparison")
    helpers = (parameter_count, describe_cost, describe_coverage, describe_caveats, describe_section, describe_tests)
    cells = (
        amount,
        difference_text,
        interval_text,
        p_text,
        named_rows,
        spread_text,
        inline_png,
        describe_commit,
    )
    drawings = (draw_heat_map, draw_curve, colour_ramp)
    environment.globals |= {function.__name__: function for function in (*helpers, *cells, *drawings)}
    return environment


def describe_commit(run: Evaluation) -> str:
    """Return the commit that a run was made from, and whether the checkout had changes."""
    git = run.manifest.git
    return f"{git.commit[:10]}{' with changes' if git.dirty else ''}" if git else "not from a checkout"


def _provenance(runs: Sequence[Evaluation]) -> dict[str, list[str]]:
    """Return what the runs were made with and from: each value once, so that a difference is seen at once."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, value in _origin(run).items():
            found.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in found.items()}


def _origin(run: Evaluation) -> dict[str, str]:
    facts = run.manifest
    return {
        "commit": describe_commit(run),
        f"weights of {facts.model} ({', '.join(filter(None, (facts.dtype, facts.quantization)))})": facts.model_hash,
        f"questions of {facts.task}, fold {facts.fold}": facts.questions_hash,
        "Python": f"{facts.python} on {facts.platform}",
        "packages": ", ".join(f"{name} {version}" for name, version in facts.versions.items() if version),
    }
