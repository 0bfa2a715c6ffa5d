"""A description's numbers: one table of all edits, and everything in full precision for CSV."""

from collections.abc import Iterator, Sequence
from typing import Any

from lofit_cli.artifacts.description import Description, Descriptions, ShownToken, count_in_answers
from lofit_cli.report.tables import Cell, Column, Entry, Table

NUM_NAMED = 8
"""As many tokens of a list are printed on the terminal."""
Record = dict[str, Any]


def summary_table(found: Descriptions) -> Table:
    """Return a row for each edit."""
    heads = ("moved", "same %", "shifted %", "KL", "cosine", "answers")
    columns = [Column("edit", "left"), *(Column(head, is_whole=True) for head in heads)]
    rows = [_summary_row(found, row, cosine) for row, cosine in zip(found.rows, found.cosines[0], strict=True)]
    return Table(_title(found), columns, rows, _note(found), list(_summary_records(found)))


def _title(found: Descriptions) -> str:
    return f"What edits of {found.model} change on {found.texts.num_texts} texts ({found.texts.source})"


def _note(found: Descriptions) -> str:
    positions = ", ".join(map(str, found.positions))
    return (
        f"Moved: the length of the difference of the hidden states after layer {found.layer}, in lengths of a usual "
        f"state, at tokens {positions} of a text. Same, shifted: shares of what the edited model says after "
        f"{found.texts.num_continued} texts. KL: nats a token. Cosine: of the difference to the first row's. Answers: "
        f"of the tokens that the difference points at, those over-represented in the first row's training answers."
    )


def _summary_row(found: Descriptions, row: Description, cosine: float | None) -> list[Entry]:
    about = Cell(row.label, is_bold=row is found.run)
    shares = [f"{100 * share:.1f}" for share in (row.shift.unshifted, row.shift.shifted)]
    to_run = "" if cosine is None else f"{cosine:.2f}"
    return [about, f"{row.layer_norms[found.layer]:.3f}", *shares, f"{row.shift.mean_kl:.4f}", to_run, in_answers(row)]


def in_answers(row: Description) -> str:
    """Return how many of the tokens that a difference points at are over-represented in the run's answers."""
    if "lens" not in row.answer_shares:
        return ""
    return f"{count_in_answers(row.lens.raised)} of {len(row.lens.raised)}"


def state_finding(found: Descriptions) -> str:
    """Return the one sentence that says whether the description tells the run from its controls."""
    run, others = found.run, found.rows[1:]
    if not run.lens.raised:
        return f"The run changes nothing after layer {found.layer} on these texts."
    if found.note:
        return f"Whether its tokens are those of its training answers is not known: {found.note}."
    own = count_in_answers(run.lens.raised)
    said = (
        f"Of the {len(run.lens.raised)} tokens that the run's difference points at, {own} "
        f"{'is' if own == 1 else 'are'} over-represented in its training answers"
    )
    most = max((count_in_answers(other.lens.raised) for other in others), default=None)
    return f"{said}." if most is None else f"{said}; of its controls', at most {most}."


def tokens_table(found: Descriptions) -> Table:
    """Return the first tokens of the main lists of each edit, for the terminal."""
    columns = [Column(head, "left") for head in ("edit", "tokens of its difference", "tokens made likelier")]
    rows = [[row.label, _first_texts(row.lens.raised), _first_texts(row.mining.tokens)] for row in found.rows]
    return Table("Tokens that the edits point at, most first", columns, rows, state_finding(found))


def _first_texts(tokens: Sequence[ShownToken]) -> str:
    return " ".join(repr(token.text) for token in tokens[:NUM_NAMED]) or "none"


def _summary_records(found: Descriptions) -> Iterator[Record]:
    for row, cosine in zip(found.rows, found.cosines[0], strict=True):
        yield {
            **{name: getattr(row, name) for name in ("label", "kind", "path", "method", "task", "seed")},
            "layer": found.layer,
            "difference": row.layer_norms[found.layer],
            **{name: getattr(row.shift, name) for name in ("unshifted", "marginal", "shifted")},
            "mean_kl": row.shift.mean_kl,
            "cosine": cosine,
            **{f"{name}_in_answers": share for name, share in row.answer_shares.items()},
        }


def layer_records(found: Descriptions) -> list[Record]:
    """Return the length of each difference, by edit, layer and position, and the unit that it is in."""
    return [
        {"label": row.label, "layer": layer, "position": position, "difference": length, "unit": row.units[layer]}
        for row in found.rows
        for layer, lengths in enumerate(row.norms)
        for position, length in enumerate(lengths)
    ]


def shift_records(found: Descriptions) -> list[Record]:
    """Return the divergence of next tokens by edit and position in the continuation."""
    return [
        {"label": row.label, "position": position, "kl": kl, "num_texts": count}
        for row in found.rows
        for position, (kl, count) in enumerate(zip(row.shift.kl, row.shift.num_texts, strict=True))
    ]


def cosine_records(found: Descriptions) -> list[Record]:
    """Return the cosine of each pair of edits: of their mean differences, and of those at each position."""
    each = [(" ".join(map(str, found.positions)), found.cosines)]
    each += [(str(position), cosines) for position, cosines in enumerate(found.cosines_by_position)]
    return [
        {"positions": positions, "label": row.label, "other": other.label, "cosine": cosine}
        for positions, matrix in each
        for row, cosines in zip(found.rows, matrix, strict=True)
        for other, cosine in zip(found.rows, cosines, strict=True)
    ]


def token_records(found: Descriptions) -> list[Record]:
    """Return every token of every list."""
    return [{"label": row.label, **record} for row in found.rows for record in _tokens_of(row)]


def _tokens_of(row: Description) -> Iterator[Record]:
    for lens in row.lenses:
        for name, tokens in (("raised", lens.raised), ("lowered", lens.lowered)):
            yield from _ranked(tokens, list=f"lens, {name}", position=lens.position)
    yield from _ranked(row.mining.tokens, list="mining")
    for reading in row.readings:
        yield from _ranked(reading.tokens, list="patchscope", strength=reading.strength)
    for rank, token in enumerate(row.shift.tokens, start=1):
        about = {"token": token.text, "id": token.id, "value": token.count}
        yield {"list": "shifted", "rank": rank, **about, "median_rank": token.median_rank}
    for head in row.offsets:
        for rank, (text, value) in enumerate(zip(head.tokens, head.probabilities, strict=True), start=1):
            yield {
                "list": "offset",
                "rank": rank,
                "token": text,
                "value": value,
                "layer": head.layer,
                "head": head.head,
            }


def _ranked(tokens: Sequence[ShownToken], **about: Any) -> Iterator[Record]:
    for rank, token in enumerate(tokens, start=1):
        shown = {"token": token.text, "id": token.id, "value": token.value, "in_answers": token.in_answers}
        yield {**about, "rank": rank, **shown}
