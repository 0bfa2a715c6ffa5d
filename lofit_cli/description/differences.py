"""Where an edited model's hidden states and next tokens differ from the model as it is, on average over texts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lofit_cli.description.passes import Pass, lay_out, paired_passes
from lofit_cli.description.texts import MAX_TOKENS, Texts
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.decoder import Decoder
from lofit_cli.schema.limits import FIRST_TOKENS

MINED_TOKENS = 64
"""The raised tokens are counted at as many first tokens of a text."""


@dataclass(frozen=True)
class Differences:
    """What an edit changes on some texts.

    Attributes:
        deltas: (num_layers, FIRST_TOKENS, hidden) float32, of the hidden states after each layer at each of the first
            tokens; a mean over the texts that have that token.
        units: (num_layers,) the mean length of the edited model's hidden states at the tokens after these.
        raised: (vocabulary,) at how many places a token is among the most raised ones.
        num_places: how many places there are.
    """

    deltas: Tensor
    units: Tensor
    raised: Tensor
    num_places: int

    def lengths(self) -> Tensor:
        """Return (num_layers, FIRST_TOKENS) lengths, in units of each layer's usual state."""
        lengths: Tensor = self.deltas.norm(dim=-1) / self.units[:, None]
        return lengths


def compare_texts(
    lm: Decoder, edit: Intervention, texts: Texts, top_k: int, report: Callable[[int], None]
) -> Differences:
    """Run the model on each text without and with an edit.

    Args:
        top_k: how many tokens count as the most raised at a place; only raised ones do.
        report: called with the number of texts done after each batch.

    Source: the activation difference lens (arXiv 2510.13900) and its diffing-toolkit, which also mines the logits.
    """
    plain = lay_out(lm, texts)
    with edit.attach(lm):
        edited = lay_out(lm, texts)
    vocabulary = int(lm.model.config.get_text_config(decoder=True).vocab_size)
    sums = _Sums(len(lm.layers), lm.hidden_size, vocabulary)
    for before, after in paired_passes(lm, edit, plain, edited, range(len(lm.layers))):
        sums.add_states(before, after)
        sums.add_raised(before, after, top_k)
        report(len(before.rows))
    return sums.means()


class _Sums:
    """Sums over texts, in double precision, so that an edit's own vector comes out as it went in."""

    def __init__(self, num_layers: int, hidden: int, vocabulary: int) -> None:
        self.deltas = torch.zeros(num_layers, FIRST_TOKENS, hidden, dtype=torch.float64)
        self.counts = torch.zeros(FIRST_TOKENS, dtype=torch.float64)
        self.lengths = torch.zeros(num_layers, dtype=torch.float64)
        self.num_later, self.num_places = 0, 0
        self.raised = torch.zeros(vocabulary, dtype=torch.long)

    def add_states(self, before: Pass, after: Pass) -> None:
        for layer in after.states:
            own, numbers = after.states_at(layer, 0, FIRST_TOKENS)
            base, _ = before.states_at(layer, 0, FIRST_TOKENS)
            self.deltas[layer].index_add_(0, numbers, (own - base).cpu().double())
            later, _ = after.states_at(layer, FIRST_TOKENS, MAX_TOKENS)
            self.lengths[layer] += later.norm(dim=-1).sum().cpu()
        self.counts += torch.bincount(numbers, minlength=FIRST_TOKENS)
        self.num_later += len(later)

    def add_raised(self, before: Pass, after: Pass, top_k: int) -> None:
        own = after.log_probs(MINED_TOKENS)
        # A token that is ruled out in both has no difference.
        difference = own.sub_(before.log_probs(MINED_TOKENS)).nan_to_num_(nan=0.0)
        best = difference.topk(min(top_k, difference.shape[-1]))
        self.raised += torch.bincount(best.indices[best.values > 0].cpu(), minlength=len(self.raised))
        self.num_places += len(difference)

    def means(self) -> Differences:
        deltas = (self.deltas / self.counts[:, None]).float()
        return Differences(deltas, (self.lengths / self.num_later).float(), self.raised, self.num_places)
