"""What training minimises over a batch of prompts with answers: DPO against the base model, or cross-entropy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lofit_cli.artifacts.cache import largest_entry
from lofit_cli.console import progress_bar
from lofit_cli.errors import naming_items
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.logprobs import copied_logprobs, tokenize_items
from lofit_cli.models.packing import TokenSequence, group_rows
from lofit_cli.models.remembered import remembered
from lofit_cli.models.trunk import Trunk
from lofit_cli.models.trunk_rows import fill_trunk, knows_row, num_bytes, put_states, row_states
from lofit_cli.sharing import own_share, share_out
from lofit_cli.tasks.task import Task
from lofit_cli.training.losses import dpo_loss, poft_loss, reps_loss, sft_loss

ItemsOfRow = Sequence[Sequence[TokenSequence]]
"""The sequences of items that share a row."""


@dataclass(frozen=True)
class TrainingItem:
    """A prompt with its answers as tokens.

    Attributes:
        reference: (num_answers,) summed log-probabilities under the base model, for DPO; for PoFT, the
            means per token under other models; zeros for SFT.
        weight: how much the item counts in the mean over a batch: its number of answer tokens for SFT, else 1.
    """

    sequences: list[TokenSequence]
    num_chosen: int
    reference: Tensor
    weight: int


@dataclass(frozen=True)
class Objective:
    """The loss that a task asks for, under whatever is attached to the model.

    Attributes:
        beta: DPO's.
        trunk: the layers below all that is attached, if what they give is kept.
        pair_loss: what pairs of answers are trained by: `dpo` or `reps`.
    """

    lm: Decoder
    task: Task[Any]
    beta: float
    trunk: Trunk | None = None
    pair_loss: str = "dpo"

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
        sequences = [item.sequences for item in items]
        rows = list(group_rows(sequences, self.lm.max_row_tokens))
        if self.task.objective == "dpo":
            found = remembered(self.lm, "references", sequences, lambda: {"values": self._refer(rows, split)})
            parts = found["values"].to(self.lm.device).split([len(item.sequences) for item in items])
            items = [replace(item, reference=part) for item, part in zip(items, parts, strict=True)]
        elif self.task.likelihoods:
            known = [torch.tensor(values, device=self.lm.device) for values in self.task.likelihoods[split]]
            items = [replace(item, reference=part, weight=1) for item, part in zip(items, known, strict=True)]
        if self.trunk:
            self._fill(self.trunk, sequences, rows, split)
        return items

    def _refer(self, rows: Sequence[ItemsOfRow], split: str) -> Tensor:
        """Return the base model's log-probabilities of all answers, in order."""
        found: list[Tensor] = []
        with torch.no_grad(), progress_bar(f"reference log-probabilities, {split}", sum(map(len, rows))) as advance:
            for group, flat in share_out(rows, self._reference, Tensor.tolist, self._as_scored):
                found.append(flat)
                advance(len(group))
        return torch.cat(found)

    def _fill(self, trunk: Trunk, items: ItemsOfRow, rows: Sequence[ItemsOfRow], split: str) -> None:
        """Fill the trunk in these rows, as a run that goes on does too: other rows are rounded in other ways."""
        flat = [[sequence for sequences in group for sequence in sequences] for group in rows]

        def fill() -> None:
            with progress_bar(f"frozen layers, {split}", sum(map(len, rows))) as advance:
                for group, row in zip(rows, flat, strict=True):
                    fill_trunk(self.lm, trunk, row)
                    advance(len(group))

        def compute() -> dict[str, Tensor]:
            fill()
            return {"hidden": row_states(trunk, flat)}

        size = num_bytes(self.lm, flat)
        if size > trunk.room and not all(knows_row(trunk, row) for row in flat):
            return
        # One that is too large to be kept is not laid out for that either: it would take its room twice.
        if not self.lm.remembers or size > largest_entry():
            fill()
            return
        found = remembered(self.lm, "trunk", items, compute, num_layers=len(trunk.layers))
        if not all(knows_row(trunk, row) for row in flat):
            put_states(trunk, flat, found["hidden"])

    def loss(self, items: Sequence[TrainingItem], backward: bool = False, sign: int = 1) -> float:
        """Return the mean loss over items; see `losses`."""
        return self.losses(items, 1, backward, sign)[0]

    def losses(
        self, items: Sequence[TrainingItem], num_copies: int, backward: bool = False, sign: int = 1
    ) -> list[float]:
        """Return the mean loss over items of each copy, row by row so that memory does not grow with the batch.

        Of several processes each returns its own items' part of it.

        Args:
            num_copies: how many copies of a row there are under what is attached: 1, or one for each edit.
            backward: add the gradient to the parameters'.
            sign: of DPO's margins; -1 makes chosen answers less likely.
        """
        found, weight = [torch.zeros(num_copies, device=self.lm.device)], sum(item.weight for item in items)
        own = own_share(items, lambda item: sum(len(sequence.tokens) for sequence in item.sequences))
        waiting = iter(own)
        for group in group_rows([item.sequences for item in own], self.lm.max_row_tokens):
            flat = self._score(group, num_copies)
            parts = zip(flat.split([len(sequences) for sequences in group], dim=1), waiting, strict=False)
            losses = torch.stack([self._item_losses(part, item, sign) for part, item in parts]).sum(dim=0) / weight
            if backward:
                losses.sum().backward()
            found.append(losses.detach())
        totals: list[float] = torch.stack(found).cpu().double().sum(dim=0).tolist()
        return totals

    def _reference(self, group: ItemsOfRow) -> Tensor:
        return self._score(group, 1)[0]

    def _score(self, group: ItemsOfRow, num_copies: int) -> Tensor:
        """Return (num_copies, answers), the log-probabilities of the answers of items that share a row."""
        flat = [sequence.after(self.lm.beginning) for sequences in group for sequence in sequences]
        with self.lm.keeping(self.trunk):
            return copied_logprobs(self.lm, flat, num_copies)

    def _as_scored(self, values: list[float]) -> Tensor:
        return torch.tensor(values, device=self.lm.device)

    def _item_losses(self, log_probs: Tensor, item: TrainingItem, sign: int) -> Tensor:
        """Return the loss of an item, (num_copies,), from (num_copies, answers)."""
        learns_pairs = self.task.objective == "dpo"
        if learns_pairs and self.pair_loss == "dpo":
            return dpo_loss(log_probs, item.reference, item.num_chosen, sign * self.beta)
        if not learns_pairs and not self.task.likelihoods:
            return sft_loss(log_probs)
        lengths = torch.tensor([len(s.tokens) - s.start for s in item.sequences]).to(log_probs)
        if learns_pairs:
            return reps_loss(log_probs, item.reference, lengths, item.num_chosen, sign)
        return poft_loss(log_probs, item.reference, lengths)
