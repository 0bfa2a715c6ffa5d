"""A description as one HTML file that needs nothing beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from lofit_cli import __version__
from lofit_cli.artifacts.description import Descriptions, ShownToken
from lofit_cli.artifacts.files import write_file
from lofit_cli.report.description.tables import state_finding, summary_table
from lofit_cli.report.pages import inline_png, new_environment

TEMPLATE = "description.html.jinja"


class ListedToken(NamedTuple):
    """A token in a cell, with what is known of it in words."""

    text: str
    about: str
    in_answers: bool


@dataclass(frozen=True)
class TokenLists:
    """One kind of list, of every edit, side by side.

    Attributes:
        about: what the tokens and the numbers are.
        lists: an edit's tokens, the first one first.
    """

    name: str
    title: str
    about: str
    lists: list[list[ListedToken]]

    @property
    def ranks(self) -> list[list[ListedToken | None]]:
        """Return a row for each rank, with nothing where a list has ended."""
        longest = max(map(len, self.lists), default=0)
        return [[tokens[rank] if rank < len(tokens) else None for tokens in self.lists] for rank in range(longest)]


def write_html(found: Descriptions, figures: Sequence[tuple[str, Path]], file: Path) -> None:
    """Write the page.

    Args:
        figures: what each shows, and the PNG file.
    """
    environment = new_environment("lofit_cli.report.description", "lofit_cli.report.comparison")
    page = environment.get_template(TEMPLATE).render(
        found=found,
        finding=state_finding(found),
        summary=summary_table(found),
        lists=_list_tokens(found),
        positions=_list_positions(found),
        numbers=[f"token {lens.position}" for lens in found.run.lenses if lens.position is not None],
        figures=[(title, inline_png(picture)) for title, picture in figures],
        version=__version__,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    write_file(file, lambda path: path.write_text(page, encoding="utf-8"))


def _list_tokens(found: Descriptions) -> list[TokenLists]:
    rows = found.rows
    shifted = [
        [ListedToken(t.text, f"{t.count} times, rank {t.median_rank:g}", False) for t in row.shift.tokens]
        for row in rows
    ]
    readings = [row.reading.tokens if row.reading else [] for row in rows]
    raised, lowered = ([getattr(row.lens, name) for row in rows] for name in ("raised", "lowered"))
    return [
        TokenLists("lens", "What the difference points at", LENS, [_with_shares(tokens) for tokens in raised]),
        TokenLists("lowered", "What it points away from", LOWERED, [_with_shares(tokens) for tokens in lowered]),
        TokenLists("mining", "What becomes likelier most often", MINING, [_with_counts(r.mining.tokens) for r in rows]),
        TokenLists("shifted", "What the model would not have said", SHIFTED, shifted),
        TokenLists("patchscope", "What the model itself calls it", PATCHSCOPE, [_with_shares(t) for t in readings]),
    ]


LENS = (
    "The difference of the hidden states, a mean over the texts and their first tokens, through the model's last norm "
    "and unembedding; with the probability of each token."
)
LOWERED = "The same of the opposite of the difference."
MINING = "How often a token is among those whose log-probability rises most, over the first tokens of each text."
SHIFTED = (
    "Tokens of the edited model's own continuations that are not among the three likeliest of the model as it is: how "
    "often, and their median rank there."
)
PATCHSCOPE = (
    "The difference stands in the place of the last token of three prompts, each of which says words twice; tokens "
    "that are likely after all three, with their mean probability, at the strength with most of them."
)


def _with_shares(tokens: Sequence[ShownToken]) -> list[ListedToken]:
    return [ListedToken(token.text, f"{token.value:.3g}", token.in_answers) for token in tokens]


def _with_counts(tokens: Sequence[ShownToken]) -> list[ListedToken]:
    return [ListedToken(token.text, f"{token.value:,.0f}", token.in_answers) for token in tokens]


def _list_positions(found: Descriptions) -> TokenLists:
    """Return the run's lens at each of the first tokens."""
    lists = [_with_shares(lens.raised) for lens in found.run.lenses if lens.position is not None]
    return TokenLists("positions", "The run's difference at each of the first tokens", LENS, lists)
