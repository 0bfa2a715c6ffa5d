"""What training minimises over a batch of prompts with answers: DPO against the base model, or cross-entropy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lofit_cli.console import progress_bar
from lofit_cli.errors import naming_items
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.logprobs import answer_logprobs, tokenize_items
from lofit_cli.models.packing import TokenSequence, group_rows
from lofit_cli.models.remembered import remembered
from lofit_cli.sharing import own_share, share_out
from lofit_cli.tasks.task import Task
from lofit_cli.training.losses import dpo_loss, sft_loss


@dataclass(frozen=True)
class TrainingItem:
    """A prompt with its answers as tokens.

    Attributes:
        reference: (num_answers,) summed log-probabilities under the base model, for DPO; zeros for SFT.
        weight: how much the item counts in the mean over a batch: 1 for DPO, its number of answer tokens for SFT.
    """

    sequences: list[TokenSequence]
    num_chosen: int
    reference: Tensor
    weight: int


@dataclass(frozen=True)
class Objective:
    """The loss that a task asks for, under whatever is attached to the model; `beta` is DPO's."""

    lm: Decoder
    task: Task[Any]
    beta: float

    def tokenize(self, split: str) -> list[TrainingItem]:
        """Return a split's items as they are trained on, with zeros for DPO's reference."""
        examples, is_dpo = self.task.examples(split), self.task.objective == "dpo"
        prompted = [(e.prompt, e.answers if is_dpo else e.answers[: e.num_chosen]) for e in examples]
        with naming_items([item.name for item in self.task.items(split)]):
            tokenized = tokenize_items(self.lm, prompted, self.task.config.append_eos)
        weights = (1 if is_dpo else sum(len(s.tokens) - s.start for s in sequences) for sequences in tokenized)
        zeros = (torch.zeros(len(sequences), device=self.lm.device) for sequences in tokenized)
        parts = zip(tokenized, examples, zeros, weights, strict=True)
        return [TrainingItem(s, e.num_chosen, reference, weight) for s, e, reference, weight in parts]

    def prepare(self, split: str) -> list[TrainingItem]:
        """Return a split's items; the model must have nothing attached, as DPO's reference is the base model."""
        items = self.tokenize(split)
        if self.task.objective != "dpo":
            return items
        sequences = [item.sequences for item in items]
        found = remembered(self.lm, "references", sequences, lambda: {"values": self._refer(items, split)})
        parts = found["values"].to(self.lm.device).split([len(item.sequences) for item in items])
        return [replace(item, reference=part) for item, part in zip(items, parts, strict=True)]

    def _refer(self, items: Sequence[TrainingItem], split: str) -> Tensor:
        """Return the base model's log-probabilities of all answers, in order."""
        found: list[Tensor] = []
        with torch.no_grad(), progress_bar(f"reference log-probabilities, {split}", len(items)) as advance:
            rows = list(group_rows([item.sequences for item in items], self.lm.max_row_tokens))
            for group, flat in share_out(rows, self._score, Tensor.tolist, self._as_scored):
                found.append(flat)
                advance(len(group))
        return torch.cat(found)

    def loss(self, items: Sequence[TrainingItem], backward: bool = False) -> float:
        """Return the mean loss over items, row by row so that memory does not grow with the batch.

        Of several processes each returns its own items' part of it.

        Args:
            backward: add its gradient to the parameters'.
        """
        total, weight = 0.0, sum(item.weight for item in items)
        own = own_share(items, lambda item: sum(len(sequence.tokens) for sequence in item.sequences))
        waiting = iter(own)
        for group in group_rows([item.sequences for item in own], self.lm.max_row_tokens):
            flat = self._score(group)
            parts = zip(flat.split([len(sequences) for sequences in group]), waiting, strict=False)
            loss = torch.stack([self._item_loss(part, item) for part, item in parts]).sum() / weight
            if backward:
                loss.backward()
            total += float(loss.detach())
        return total

    def _score(self, group: Sequence[Sequence[TokenSequence]]) -> Tensor:
        """Return the log-probabilities of the answers of items that share a row."""
        return answer_logprobs(self.lm, [sequence for sequences in group for sequence in sequences])

    def _as_scored(self, values: list[float]) -> Tensor:
        return torch.tensor(values, device=self.lm.device)

    def _item_loss(self, log_probs: Tensor, item: TrainingItem) -> Tensor:
        if self.task.objective == "dpo":
            return dpo_loss(log_probs, item.reference, item.num_chosen, self.beta)
        return sft_loss(log_probs)
