"""Forward passes on the same texts without and with an edit, a batch at a time."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from lofit_cli.description.texts import Texts, naming_texts
from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import pad_right, padded_batches
from lofit_cli.models.hooks import hooked_layer
from lofit_cli.models.packing import TokenSequence
from lofit_cli.prompts import NOTHING

MAX_LOGITS = 2**24
"""As many logits of one pass may exist at once: 64 MB in float32."""


@dataclass(frozen=True)
class Row:
    """A text as the model gets it: with what is attached, other tokens may stand before it.

    Attributes:
        places: of the text's own tokens in the sequence.
    """

    sequence: TokenSequence
    places: list[int]


@dataclass(frozen=True)
class Pass:
    """What a model makes of a batch of rows.

    Attributes:
        rows: of the batch.
        logits: (batch, seq, vocabulary).
        states: layer -> (batch, seq, hidden), the residual stream after it.
    """

    rows: list[Row]
    logits: Tensor
    states: dict[int, Tensor]

    def log_probs(self, length: int) -> Tensor:
        """Return (num_places, vocabulary) float32, what is said of the next token at the first places of each row."""
        rows, places, _ = self._at(0, length)
        device = self.logits.device
        return self.logits[rows.to(device), places.to(device)].float().log_softmax(dim=-1)

    def states_at(self, layer: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Return a layer's states at the places of these numbers, where a row has so many.

        Returns:
            (num_places, hidden) float32, and the number of each place.
        """
        rows, places, numbers = self._at(start, end)
        hidden = self.states[layer]
        return hidden[rows.to(hidden.device), places.to(hidden.device)].float(), numbers

    def _at(self, start: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the row, the column and the number of each place from one number to another."""
        found = [
            (i, row.places[number], number)
            for i, row in enumerate(self.rows)
            for number in range(start, min(end, len(row.places)))
        ]
        rows, places, numbers = torch.tensor(found, dtype=torch.long).view(-1, 3).T
        return rows, places, numbers


def lay_out(lm: Decoder, texts: Texts) -> list[Row]:
    """Return the texts as they are read under what is attached to the model.

    A text is read as an answer from its second token on, so that edits of answers act on all of it.

    Raises:
        UserError: a text is too long for the model with what stands before it, or that is turns of a conversation.
    """
    shown = _shown_tokens(lm)
    rows = [_lay_out(lm.beginning, shown, tokens, texts.num_first) for tokens in texts.tokens]
    with naming_texts(texts.source, texts.texts):
        lm.require_positions([len(row.sequence.tokens) for row in rows])
    return rows


def _lay_out(before: Sequence[int], shown: Sequence[int], tokens: Sequence[int], num_first: int) -> Row:
    sequence = (*before, *tokens[:num_first], *shown, *tokens[num_first:])
    places = [len(before) + i + (len(shown) if i >= num_first else 0) for i in range(len(tokens))]
    return Row(TokenSequence(sequence, places[0] + 1), places)


def _shown_tokens(lm: Decoder) -> list[int]:
    """Return the tokens of the demonstrations that stand before each prompt.

    Raises:
        UserError: they are turns of a conversation.
    """
    shown = sum(lm.shown, NOTHING)
    if shown == NOTHING:
        return []
    if lm.chat:
        raise UserError(
            "a run of method=icl with model.chat_template=true shows turns of a conversation, and describe reads texts "
            "that stand in none; leave it out of intervention and controls, or make it with model.chat_template=false"
        )
    (text,) = lm.encode([lm.prompt_text(shown)])
    return text.tokens[len(lm.beginning) + len(lm.first_tokens) :]


def paired_passes(
    lm: Decoder,
    edit: Intervention,
    plain: Sequence[Row],
    edited: Sequence[Row],
    layers: Sequence[int] = (),
) -> Iterator[tuple[Pass, Pass]]:
    """Yield what the model as it is and the edited one make of each batch of the same texts.

    Args:
        plain, edited: the texts as each of both reads them.
        layers: whose states are wanted.
    """
    first = 0
    for size in _batch_sizes(lm, [row.sequence for row in edited]):
        part = slice(first, first + size)
        with torch.inference_mode():
            before = _run(lm, list(plain[part]), layers)
        with edit.attach(lm), torch.inference_mode():
            after = _run(lm, list(edited[part]), layers)
        yield before, after
        first += size


def _batch_sizes(lm: Decoder, sequences: Sequence[TokenSequence]) -> list[int]:
    """Return how many of the sequences, one after the other, go into each pass."""
    vocabulary = int(lm.model.config.get_text_config(decoder=True).vocab_size)
    small = replace(lm, max_row_tokens=max(1, min(lm.max_row_tokens, MAX_LOGITS // vocabulary)))
    return [len(batch) for batch in padded_batches(small, sequences)]


def _run(lm: Decoder, rows: list[Row], layers: Sequence[int]) -> Pass:
    """Run one padded batch; an edit that runs the model itself comes first, so that the last states are the pass's."""
    sequences, states = [row.sequence for row in rows], dict[int, Tensor]()
    tokens, attended = pad_right(sequences, lm.device)
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(hooked_layer(lm.layers[layer], partial(states.__setitem__, layer)))
        stack.enter_context(lm.token_positions.padded([s.start for s in sequences], tokens))
        logits = lm.model(input_ids=tokens, attention_mask=attended, use_cache=False).logits
    # A token that a family rules out may have no finite logit; the likeliest has one.
    lm.require_finite(logits.amax(dim=-1))
    return Pass(rows, logits, states)
