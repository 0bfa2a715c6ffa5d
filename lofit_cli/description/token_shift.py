"""How the edited model's greedy continuations look to the model as it is: which tokens it would not have said."""

from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor

from lofit_cli.artifacts.description import ShiftedToken, TokenShift
from lofit_cli.description.passes import Row, paired_passes
from lofit_cli.description.texts import Texts, naming_texts
from lofit_cli.description.words import NUM_SHOWN
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.generation import encode_prompts, generate_tokens
from lofit_cli.models.packing import TokenSequence
from lofit_cli.prompts import NOTHING, as_prompt

MARGINAL = 3
"""Up to this rank a token other than the likeliest is not counted as shifted."""


def measure_shift(
    lm: Decoder,
    edit: Intervention,
    texts: Texts,
    num_continued: int,
    max_new_tokens: int,
    report: Callable[[int], None],
) -> TokenShift:
    """Let the edited model go on after the first texts, and rank what it says under the model as it is.

    A text is a prompt here, under the model's chat template where it has one.

    Args:
        report: called with the number of texts that were continued.

    Raises:
        UserError: a text is too long for the model with its continuation.

    Source: Lin et al. 2023 (arXiv 2312.01552), section 2.
    """
    continued = texts.texts[:num_continued]
    with naming_texts(texts.source, continued):
        prompts = encode_prompts(lm, continued)
        with edit.attach(lm):
            before = sum(lm.shown, NOTHING)
            edited = encode_prompts(lm, [before + as_prompt(text) for text in continued])
            said = generate_tokens(lm, edited, max_new_tokens, report)
    rows, own_rows = ([_row(*pair) for pair in zip(asked, said, strict=True)] for asked in (prompts, edited))
    ranks, divergences = _compare(lm, edit, rows, own_rows, max_new_tokens)
    return _summarise(lm, said, ranks, divergences)


def _row(prompt: Sequence[int], said: Sequence[int]) -> Row:
    """Return a continued prompt with the places from which its continuation is predicted."""
    sequence = TokenSequence((*prompt, *said), len(prompt))
    return Row(sequence, list(range(len(prompt) - 1, len(prompt) + len(said) - 1)))


def _compare(
    lm: Decoder, edit: Intervention, plain: list[Row], edited: list[Row], max_new_tokens: int
) -> tuple[list[int], list[float]]:
    """Return the rank of each said token under the model as it is, and the divergence of both next tokens there."""
    ranks, divergences = list[int](), list[float]()
    for before, after in paired_passes(lm, edit, plain, edited):
        base, own = (made.log_probs(max_new_tokens) for made in (before, after))
        said = torch.tensor([token for row in after.rows for token in row.sequence.tokens[row.sequence.start :]])
        of_said = base.gather(-1, said.to(base.device)[:, None])
        ranks += (1 + (base > of_said).sum(dim=-1)).tolist()
        divergences += lm.require_finite(_divergence(own, base)).tolist()
    return ranks, divergences


def _divergence(own: Tensor, base: Tensor) -> Tensor:
    """Return KL(own || base) of rows of log-probabilities, in nats."""
    probabilities = own.exp()
    parts = torch.where(probabilities > 0, probabilities * (own - base), 0.0)
    return parts.sum(dim=-1).clamp(min=0)


def _summarise(
    lm: Decoder, said: Sequence[Sequence[int]], ranks: Sequence[int], divergences: Sequence[float]
) -> TokenShift:
    places = [(number, token) for tokens in said for number, token in enumerate(tokens)]
    by_position, shifted = dict[int, list[float]](), dict[int, list[int]]()
    for (number, token), rank, divergence in zip(places, ranks, divergences, strict=True):
        by_position.setdefault(number, []).append(divergence)
        if rank > MARGINAL:
            shifted.setdefault(token, []).append(rank)
    most = sorted(shifted, key=lambda token: (-len(shifted[token]), token))[:NUM_SHOWN]
    return TokenShift(
        num_tokens=len(ranks),
        unshifted=sum(rank == 1 for rank in ranks) / len(ranks),
        marginal=sum(1 < rank <= MARGINAL for rank in ranks) / len(ranks),
        shifted=sum(rank > MARGINAL for rank in ranks) / len(ranks),
        kl=[sum(found) / len(found) for _, found in sorted(by_position.items())],
        num_texts=[len(found) for _, found in sorted(by_position.items())],
        tokens=[
            ShiftedToken(str(lm.tokenizer.decode([token])), token, len(shifted[token]), median(shifted[token]))
            for token in most
        ],
    )
