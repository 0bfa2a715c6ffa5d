"""A decoder with its tokenizer, and what is known of it."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.errors import ItemError, RunError, UserError
from lofit_cli.models.chat import AnsweredText, Chat
from lofit_cli.models.devices import input_device
from lofit_cli.models.encoding import EncodedText, encode, encode_rendered, first_tokens
from lofit_cli.models.logits_tail import LogitsTail
from lofit_cli.models.positions import CurrentPositions
from lofit_cli.models.trunk import Trunk
from lofit_cli.prompts import Prompt

LENGTHS = ("max_position_embeddings", "max_seq_len", "max_target_positions")
"""What configs call the number of positions: most families', MPT's, Whisper's."""

Batching = Literal["packed", "padded", "single"]
"""How sequences share a forward pass: in one row under a mask of ours, in padded rows, or not at all."""

PLACE = 0
"""The token in whose place something learnt stands before a text; which one it is makes no difference."""


def _open_none(config: Any) -> "Decoder":
    raise UserError(f"model '{config.id}' is wanted beside a model that was not loaded by `load_model`; load it so")


@dataclass(frozen=True)
class Decoder:
    """A frozen decoder, its tokenizer, and where its heads are.

    Attributes:
        id: the name it was asked for by.
        layers: the decoder layers.
        output_projections: layer -> the module whose input holds its head activations; some layers have none.
        batching: the fastest way of sharing forward passes that changes no result.
        max_row_tokens: how many tokens one forward pass may hold.
        add_bos: whether a text begins with the tokenizer's BOS token, as `first_tokens` says.
        token_positions: where the tokens of the forward pass under way stand, for edits of some positions.
        quantization: how the weights were made coarser when they were loaded, if they were.
        tail: what follows the hidden states, for logits in parts; None where all have to exist at once.
        chat: the template that makes prompts turns of a conversation; None for a model that continues a text.
        shown: the demonstrations of what is attached, which stand before each prompt that is answered.
        beginnings: tokens that stand before every text, in whose place what is attached puts something of its own.
        trunks: the lowest layers, if what they give is kept; the last one counts.
        rescorings: of what changes the logits, whether a token's score is what comes out, and not its log-softmax.
        open_other: loads a second model, which what is attached runs beside it, by its settings.
        remembers: whether what the model as it is makes of texts is kept on this machine, and taken from there.
    """

    id: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    geometry: Geometry
    layers: list[nn.Module]
    output_projections: dict[int, nn.Module]
    batching: Batching = "packed"
    max_row_tokens: int = 512
    add_bos: str = "auto"
    token_positions: CurrentPositions = field(default_factory=CurrentPositions)
    quantization: str | None = None
    tail: LogitsTail | None = None
    chat: Chat | None = None
    shown: list[Prompt] = field(default_factory=list)
    beginnings: list[list[int]] = field(default_factory=list)
    trunks: list[Trunk | None] = field(default_factory=list)
    rescorings: list[bool] = field(default_factory=list)
    open_other: Callable[[Any], "Decoder"] = _open_none
    remembers: bool = False

    @contextmanager
    def showing(self, demonstrations: Prompt) -> Iterator[None]:
        """Put demonstrations before each prompt that is answered inside a `with` block."""
        self.shown.append(demonstrations)
        try:
            yield
        finally:
            self.shown.pop()

    @contextmanager
    def begun(self, tokens: list[int]) -> Iterator[None]:
        """Let every text begin with these tokens inside a `with` block."""
        self.beginnings.append(tokens)
        try:
            yield
        finally:
            self.beginnings.pop()

    @property
    def beginning(self) -> list[int]:
        """Return the tokens that every text begins with because of what is attached."""
        return self.beginnings[-1] if self.beginnings else []

    @contextmanager
    def keeping(self, trunk: Trunk | None) -> Iterator[None]:
        """Keep what a trunk gives, and begin above it, in the packed rows inside a `with` block; nothing for None."""
        self.trunks.append(trunk)
        try:
            yield
        finally:
            self.trunks.pop()

    @property
    def trunk(self) -> Trunk | None:
        """Return the lowest layers, if what they give is kept."""
        return self.trunks[-1] if self.trunks else None

    @property
    def device(self) -> torch.device:
        """Return where inputs are put; layers may be on other devices."""
        return input_device(self.model)

    @property
    def hidden_size(self) -> int:
        """Return how many numbers a token's hidden state has."""
        return int(self.model.config.get_text_config(decoder=True).hidden_size)

    @property
    def max_positions(self) -> int:
        """Return how many tokens a sequence may have."""
        config = self.model.config.get_text_config(decoder=True)
        limits = (getattr(config, name, None) for name in LENGTHS)
        return int(next(filter(None, limits), sys.maxsize))

    @property
    def end_tokens(self) -> list[int]:
        """Return the tokens that end what the model says: its tokenizer's, and those of its own generation settings.

        An instructed model often ends its turn with another token than the one that ends a document.
        """
        own = getattr(self.model.generation_config, "eos_token_id", None)
        of_turn = self.chat.ends if self.chat else []
        ends = [self.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own]), *of_turn]
        if wrong := [end for end in ends if end is not None and (not isinstance(end, int) or end < 0)]:
            raise UserError(
                f"model '{self.id}' ends texts with eos_token_id={wrong[0]!r} in its generation_config.json; it must "
                "be the number of a token, or a list of these"
            )
        return list(dict.fromkeys(end for end in ends if end is not None))

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Return texts as tokens: the one way in which prompts, answers and instructions become tokens.

        Raises:
            ItemError: a text holds a special token that can't be read as text.
        """
        if self.chat:
            found = encode_rendered(self.tokenizer, texts)
        else:
            found = encode(self.tokenizer, texts, self.first_tokens, set(self.end_tokens))
        if before := self.beginning:
            return [EncodedText([*before, *text.tokens], [0] * len(before) + text.ends) for text in found]
        return found

    @property
    def first_tokens(self) -> list[int]:
        """Return the tokens that every text begins with; a chat template writes its own."""
        return [] if self.chat else first_tokens(self.tokenizer, self.add_bos)

    def prompt_text(self, prompt: Prompt) -> str:
        """Return the text that is to be continued.

        Raises:
            UserError: it is a conversation and this no chat model, or its template does not take it; without a subject.
        """
        if self.chat:
            return self.chat.prompt_text(prompt.turns)
        if prompt.text is None:
            raise UserError("is a conversation; set model.chat_template=true, with a model that was trained to chat")
        return prompt.text

    def answered_texts(self, prompt: Prompt, answers: Sequence[str]) -> list[AnsweredText]:
        """Return the prompt with each of its answers as one text.

        A text that is scored as a whole is scored from its first token on where BOS stands before it. Nothing predicts
        that token elsewhere, and it is left out under demonstrations too, so that what is compared is the same.

        Raises:
            UserError: as for `prompt_text`, or an answer can't be written; without a subject.
        """
        before = self.prompt_text(prompt)
        if self.chat:
            return [self.chat.answered_text(prompt.turns, before, answer) for answer in answers]
        left_out = int(prompt.opens_text and not self.first_tokens)
        return [AnsweredText(before + answer, len(before), len(before + answer), left_out) for answer in answers]

    def require_positions(self, num_tokens: Sequence[int]) -> None:
        """Refuse prompts that, with their answers, have more tokens than the model has positions.

        Raises:
            ItemError: there are some; it is about the longest.
        """
        too_long = [i for i, number in enumerate(num_tokens) if number > self.max_positions]
        if not too_long:
            return
        longest = max(too_long, key=num_tokens.__getitem__)
        others = f" ({len(too_long) - 1} more are too long as well)" if len(too_long) > 1 else ""
        raise ItemError(
            longest,
            f"has {num_tokens[longest]} tokens with its prompt and answer{others}, and model '{self.id}' has positions "
            f"for {self.max_positions} tokens; shorten it, leave it out, or choose another model",
        )

    def require_finite(self, log_probs: Tensor) -> Tensor:
        """Return log-probabilities or logits, refusing those of which one is not finite."""
        if not bool(log_probs.isfinite().all()):
            raise RunError(
                "the model gives log-probabilities that are not finite; use model.dtype=float32, or train anew"
            )
        return log_probs
