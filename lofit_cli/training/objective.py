"""What training minimises over a batch of prompts with answers: DPO against the base model, or cross-entropy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lofit_cli.console import progress_bar
from lofit_cli.errors import naming_items
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.logprobs import Prompted, answer_logprobs, tokenize_items
from lofit_cli.models.packing import TokenSequence, group_rows
from lofit_cli.tasks.task import Example, Task
from lofit_cli.training.losses import dpo_loss, sft_loss


@dataclass(frozen=True)
class TrainingItem:
    """A prompt with its answers as tokens.

    Attributes:
        reference: (num_answers,) summed log-probabilities under the base model, for DPO; empty for SFT.
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

    def prepare(self, split: str) -> list[TrainingItem]:
        """Return a split's items; the model must have nothing attached, as DPO's reference is the base model."""
        examples = self.task.examples(split)
        if self.task.objective == "dpo":
            return self._prepare_pairs(split, examples)
        tokenized = self._tokenize(split, [(e.prompt, e.answers[: e.num_chosen]) for e in examples])
        return [TrainingItem(s, len(s), torch.empty(0), sum(len(t.tokens) - t.start for t in s)) for s in tokenized]

    def _prepare_pairs(self, split: str, examples: list[Example]) -> list[TrainingItem]:
        tokenized = self._tokenize(split, [(example.prompt, example.answers) for example in examples])
        prepared: list[TrainingItem] = []
        with torch.no_grad(), progress_bar(f"reference log-probabilities, {split}", len(examples)) as advance:
            for group in group_rows(tokenized, self.lm.max_row_tokens):
                flat = answer_logprobs(self.lm, _flat(group))
                for item, reference in zip(group, flat.split([len(item) for item in group]), strict=True):
                    prepared.append(TrainingItem(item, examples[len(prepared)].num_chosen, reference, 1))
                advance(len(group))
        return prepared

    def _tokenize(self, split: str, prompted: Sequence[Prompted]) -> list[list[TokenSequence]]:
        with naming_items([item.name for item in self.task.items(split)]):
            return tokenize_items(self.lm, prompted, self.task.config.append_eos)

    def loss(self, items: Sequence[TrainingItem], backward: bool = False) -> float:
        """Return the mean loss over items, row by row so that memory does not grow with the batch.

        Args:
            backward: add its gradient to the parameters'.
        """
        total, weight = 0.0, sum(item.weight for item in items)
        waiting = iter(items)
        for group in group_rows([item.sequences for item in items], self.lm.max_row_tokens):
            flat = answer_logprobs(self.lm, _flat(group))
            parts = zip(flat.split([len(sequences) for sequences in group]), waiting, strict=False)
            loss = torch.stack([self._item_loss(part, item) for part, item in parts]).sum() / weight
            if backward:
                loss.backward()
            total += float(loss.detach())
        return total

    def _item_loss(self, log_probs: Tensor, item: TrainingItem) -> Tensor:
        if self.task.objective == "dpo":
            return dpo_loss(log_probs, item.reference, item.num_chosen, self.beta)
        return sft_loss(log_probs)


def _flat(group: Sequence[Sequence[TokenSequence]]) -> list[TokenSequence]:
    return [sequence for sequences in group for sequence in sequences]
