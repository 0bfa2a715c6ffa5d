"""Texts as tokens: what a text says stays text, and what stands before or after it is ours to decide."""

from collections.abc import Sequence, Set
from typing import NamedTuple

import transformers
from transformers import PreTrainedTokenizerBase

from lofit_cli.errors import ItemError, UserError

PLAIN_WORDS = "which of the two answers is right"
"""What any tokenizer of a language model can give back, letter case aside."""


class EncodedText(NamedTuple):
    """A text's tokens.

    Attributes:
        tokens: ids, those that every text begins with first.
        ends: for each token, how many characters of the text it and those before it cover.
    """

    tokens: list[int]
    ends: list[int]


def first_tokens(tokenizer: PreTrainedTokenizerBase, add_bos: str) -> list[int]:
    """Return the tokens that every text begins with.

    Args:
        add_bos: `auto` for what the tokenizer itself does, `true` or `false` for its BOS token.

    Raises:
        UserError: a BOS token is asked for and there is none.
    """
    bos, own = tokenizer.bos_token_id, _own_first_tokens(tokenizer)
    if add_bos == "true" and bos is None:
        raise UserError("model.add_bos=true needs a tokenizer with a BOS token; set model.add_bos=auto")
    if add_bos == "true":
        return own if bos in own else [bos, *own]
    return [token for token in own if token != bos] if add_bos == "false" else own


def _own_first_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return what the tokenizer puts before a text; what it puts after one, such as an end token, is left out."""
    whole, text = (tokenizer(PLAIN_WORDS, add_special_tokens=added)["input_ids"] for added in (True, False))
    starts = [i for i in range(len(whole) - len(text) + 1) if whole[i : i + len(text)] == text]
    if not starts:
        raise UserError(f"tokenizer '{tokenizer.name_or_path}' changes a text to which it adds its special tokens")
    return list(whole[: starts[0]])


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], first: Sequence[int], ends: Set[int]
) -> list[EncodedText]:
    """Return each text as tokens, after the `first` ones; nothing is appended.

    The name of a special token, such as `<s>`, is read as the characters that it is written with.

    Args:
        ends: tokens that end what a model says, beside the tokenizer's special ones.

    Raises:
        ItemError: a text holds a special token that its tokenizer can't read in any other way.
    """
    special = _control_tokens(tokenizer, ends)
    found = _tokens_and_ends(tokenizer, texts, split_special_tokens=True)
    for index, text in enumerate(found):
        if control := special.intersection(text.tokens):
            name = tokenizer.convert_ids_to_tokens(min(control))
            raise ItemError(index, f"holds '{name}', which the model's tokenizer can't read as text; take it out")
    return [EncodedText([*first, *text.tokens], [0] * len(first) + text.ends) for text in found]


def encode_rendered(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[EncodedText]:
    """Return texts that a chat template has written as tokens, its special tokens as such; nothing is added."""
    return _tokens_and_ends(tokenizer, texts, split_special_tokens=False)


def _tokens_and_ends(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], split_special_tokens: bool
) -> list[EncodedText]:
    if not texts:
        return []
    options = {"add_special_tokens": False, "split_special_tokens": split_special_tokens}
    found = tokenizer(list(texts), return_offsets_mapping=True, **options)
    spans = ([end for _, end in mapping] for mapping in found["offset_mapping"])
    return [EncodedText(tokens, ends) for tokens, ends in zip(found["input_ids"], spans, strict=True)]


def _control_tokens(tokenizer: PreTrainedTokenizerBase, ends: Set[int]) -> set[int]:
    """Return the special tokens that no text may hold; one for unknown characters or padding is as good as text."""
    # An end that is no token of its own kind is a character, whatever a config says by default.
    markers = {tokenizer.bos_token_id, tokenizer.eos_token_id, *tokenizer.added_tokens_decoder.keys() & ends}
    harmless = {tokenizer.unk_token_id, tokenizer.pad_token_id} - markers
    return {token for token in {*tokenizer.all_special_ids, *markers} - harmless if token is not None}


def check_round_trip(tokenizer: PreTrainedTokenizerBase, key: str) -> None:
    """Refuse a tokenizer that does not give back the words it was given.

    Args:
        key: the setting that names the model, for the message.
    """
    tokens = tokenizer(PLAIN_WORDS, add_special_tokens=False)["input_ids"]
    back = str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False))
    if back.strip().casefold() != PLAIN_WORDS:
        raise UserError(
            f"{key} has a tokenizer that turns '{PLAIN_WORDS}' into '{back[:60]}': correct tokenizer_class in its "
            f"tokenizer_config.json, or use another version of transformers than {transformers.__version__}"
        )
