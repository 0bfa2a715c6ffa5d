"""Two answers to a prompt beside each other, growing as they are given."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lofit_cli.console import results, terminal_text

Write = Callable[[str], None]
"""Takes the whole of an answer as it is so far."""
WIDE = 60
"""From this many columns on, two texts have room beside each other; on fewer they stand one below the other."""


@contextmanager
def side_by_side(prompt: str, titles: Sequence[str]) -> Iterator[list[Write]]:
    """Yield a function for each title, which shows an answer under it; each may be called again and again.

    At a terminal the answers grow where they stand. Anywhere else they are printed once they are whole.
    """
    terminal, texts = results(), [""] * len(titles)
    if not terminal.is_terminal:
        yield [_writer(texts, i, lambda: None) for i in range(len(titles))]
        terminal.print(_stacked(terminal, prompt, titles, texts), soft_wrap=True)
        return
    with Live(console=terminal, auto_refresh=False) as live:

        def refresh() -> None:
            shown = _columns if terminal.width >= WIDE else _stacked
            live.update(shown(terminal, prompt, titles, texts), refresh=True)

        yield [_writer(texts, i, refresh) for i in range(len(titles))]
        refresh()


def _writer(texts: list[str], place: int, refresh: Callable[[], None]) -> Write:
    def write(text: str) -> None:
        texts[place] = text
        refresh()

    return write


def _columns(terminal: Console, prompt: str, titles: Sequence[str], texts: Sequence[str]) -> Table:
    table = Table(title=_visible(terminal, prompt), title_justify="left", expand=True)
    for title in titles:
        table.add_column(Text(title), ratio=1, overflow="fold")
    table.add_row(*(_visible(terminal, text.strip()) for text in texts))
    return table


def _stacked(terminal: Console, prompt: str, titles: Sequence[str], texts: Sequence[str]) -> Text:
    said = zip(("prompt", *titles), (prompt, *texts), strict=True)
    lines = [Text.assemble((f"{title}: ", "bold"), _visible(terminal, text.strip())) for title, text in said]
    return Text("\n").join([*lines, Text()])


def _visible(terminal: Console, text: str) -> Text:
    return Text("\n".join(terminal_text(line, terminal.encoding) for line in text.split("\n")))
