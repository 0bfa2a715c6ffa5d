"""Everything that is found of one edit."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from lofit_cli.artifacts.description import (
    Described,
    Description,
    Lens,
    Mining,
    OffsetTokens,
    PatchscopeReading,
    TokenShift,
    choose_reading,
)
from lofit_cli.console import progress_bar
from lofit_cli.description.differences import Differences, compare_texts
from lofit_cli.description.lens import read_lens, read_patchscope
from lofit_cli.description.texts import Texts
from lofit_cli.description.token_shift import measure_shift
from lofit_cli.description.words import NUM_SHOWN, Words, share_in_answers
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.paper.logit_lens import logit_lens
from lofit_cli.schema.limits import FIRST_TOKENS
from lofit_cli.schema.stages import DescribeConfig


@dataclass(frozen=True)
class Basis:
    """What all edits of one description are read by.

    Attributes:
        words: knows the training answers of the run that is asked about; None where these are not known.
        layer: after which differences are read.
    """

    lm: LanguageModel
    texts: Texts
    words: Words | None
    layer: int
    config: DescribeConfig


def describe_edit(basis: Basis, edit: Intervention, about: Described) -> tuple[Description, Tensor]:
    """Return what an edit changes on the texts, and its differences (FIRST_TOKENS, hidden) after the layer."""
    found, shift = _measure(basis, edit, about.label)
    names = basis.words or Words(basis.lm.tokenizer, ())
    mining, lengths = _name_raised(found, names), found.lengths()
    lenses, readings = _read_differences(basis, found, names)
    description = Description(
        **asdict(about),
        shift=shift,
        mining=mining,
        norms=lengths.tolist(),
        layer_norms=lengths[:, basis.config.positions].mean(dim=1).tolist(),
        units=found.units.tolist(),
        lenses=lenses,
        readings=readings,
        offsets=_read_offsets(basis.lm, edit),
        answer_shares=_shares(lenses[0], mining, readings) if basis.words else {},
    )
    return description, found.deltas[basis.layer]


def _measure(basis: Basis, edit: Intervention, label: str) -> tuple[Differences, TokenShift]:
    """Run all forward passes."""
    lm, texts, config = basis.lm, basis.texts, basis.config
    num_continued = min(config.num_continued, len(texts.texts))
    with progress_bar(f"{label}: continuations", num_continued) as advance:
        shift = measure_shift(lm, edit, texts, num_continued, config.max_new_tokens, advance)
    with progress_bar(f"{label}: differences", len(texts.texts)) as advance:
        return compare_texts(lm, edit, texts, config.top_k, advance), shift


def _read_differences(basis: Basis, found: Differences, words: Words) -> tuple[list[Lens], list[PatchscopeReading]]:
    lm, layer, config = basis.lm, basis.layer, basis.config
    delta, unit = found.deltas[layer, config.positions].mean(dim=0), float(found.units[layer])
    each = [read_lens(lm, found.deltas[layer, position], position, words) for position in range(FIRST_TOKENS)]
    readings = read_patchscope(lm, delta, unit, layer, config.strengths, config.top_k, words)
    return [read_lens(lm, delta, None, words), *each], readings


def _name_raised(found: Differences, words: Words) -> Mining:
    """Return the tokens that are most often among the raised ones, of equals the one with the lower number."""
    counts = found.raised.tolist()
    best = sorted(range(len(counts)), key=lambda token: (-counts[token], token))[:NUM_SHOWN]
    tokens = [token for token in best if counts[token]]
    return Mining(found.num_places, words.name(tokens, [counts[token] for token in tokens]))


def _read_offsets(lm: LanguageModel, edit: Intervention) -> list[OffsetTokens]:
    if not isinstance(edit, HeadEdit) or edit.offset is None:
        return []
    heads = logit_lens(lm, edit.offset, torch.tensor(edit.heads))
    return [OffsetTokens(**asdict(head)) for head in heads]


def _shares(lens: Lens, mining: Mining, readings: list[PatchscopeReading]) -> dict[str, float]:
    tokens = {"lens": lens.raised, "mining": mining.tokens}
    if reading := choose_reading(readings):
        tokens["patchscope"] = reading.tokens
    return {name: share_in_answers(found) for name, found in tokens.items()}
