"""A tiny model that chats, under templates of our own in the shapes of real ones."""

from dataclasses import replace
from pathlib import Path

from tiny_models import build_language_model, build_tokenizer

from lofit_cli.models.chat import open_chat

TEMPLATES = {
    "llama3": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "qwen3": ["<|im_start|>", "<|im_end|>"],
    "gemma3": ["<bos>", "<start_of_turn>", "<end_of_turn>"],
    "mistral": ["<s>", "</s>", "[INST]", "[/INST]"],
}
"""Template -> its special tokens, as Llama 3, Qwen 3, Gemma 3 and Mistral have them."""
ENDS = {"llama3": "<|eot_id|>", "qwen3": "<|im_end|>", "gemma3": "<end_of_turn>", "mistral": "</s>"}


def chat_tokenizer(name):
    """Return the tiny tokenizer with a template and its special tokens."""
    tokenizer = build_tokenizer()
    special = TEMPLATES[name]
    tokenizer.add_special_tokens({"extra_special_tokens": special})
    if name != "qwen3":
        tokenizer.bos_token = special[0]
    if name == "mistral":
        tokenizer.eos_token = "</s>"
    tokenizer.chat_template = (Path(__file__).parent / "chat_templates" / f"{name}.jinja").read_text()
    return tokenizer


def build_chat_model(name, system_prompt=None, family="llama", **settings):
    """Return a tiny model that is asked in the turns of a template."""
    tokenizer = chat_tokenizer(name)
    lm = build_language_model(family, **settings)
    return replace(lm, tokenizer=tokenizer, chat=open_chat(tokenizer, system_prompt, name))
