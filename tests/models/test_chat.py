"""Prompts as turns of a conversation: token for token what the template writes, scored as a plain loop does."""

from dataclasses import replace

import pytest
import torch
from chat_models import ENDS, TEMPLATES, build_chat_model, chat_tokenizer
from tiny_models import build_tokenizer

from lofit_cli.errors import ItemError, UserError
from lofit_cli.models.chat import ONE_DAY, open_chat
from lofit_cli.models.generation import generate_lines
from lofit_cli.models.logprobs import score_answers, tokenize
from lofit_cli.prompts import Prompt, Turn, ask, ask_question
from lofit_cli.tasks.forms.truthfulqa import INSTRUCTION, PROTOCOLS

LONG = PROTOCOLS["iti"] + ask_question("Do the numbers answer?")
ITEMS = [
    (ask_question("Is it the number?"), (" No", " the answer, the answer.", "\n No, é!")),
    (ask("Q: Is it?\nA:").answered(" Yes") + ask("And the other?  "), (" the number", " no number of the answer")),
    (LONG, (" They do.", " the the the")),
]


def conversation(prompt, answer, system=None):
    opening = [] if system is None else [{"role": "system", "content": system}]
    said = [{"role": role, "content": content} for role, content in prompt.turns]
    return [*opening, *said, {"role": "assistant", "content": answer.strip()}]


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompt_and_answer_have_the_tokens_of_the_whole_conversation(name):
    lm = build_chat_model(name)
    for prompt, answers in ITEMS:
        (found,) = tokenize(lm, [(prompt, answers)], append_eos=True)
        for sequence, answer in zip(found, answers, strict=True):
            whole = lm.tokenizer.apply_chat_template(conversation(prompt, answer))["input_ids"]
            assert list(sequence.tokens) == whole
            opened = lm.tokenizer.apply_chat_template(
                conversation(prompt, answer)[:-1], add_generation_prompt=True, enable_thinking=False
            )["input_ids"]
            assert whole[: len(opened)] == opened
            assert sequence.start == len(opened)
            assert lm.tokenizer.convert_tokens_to_ids(ENDS[name]) in sequence.tokens[sequence.start :]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("batching", ["packed", "padded", "single"])
def test_scoring_equals_a_plain_loop_over_conversations(name, batching):
    lm = build_chat_model(name, batching=batching, max_row_tokens=4000)
    found = score_answers(lm, ITEMS)
    for (prompt, answers), scores in zip(ITEMS, found, strict=True):
        for answer, score in zip(answers, scores, strict=True):
            assert score == pytest.approx(score_by_hand(lm, prompt, answer), abs=1e-4)


def score_by_hand(lm, prompt, answer):
    """The answer's own tokens, and not what the template closes its turn with, after the opened prompt."""
    messages = conversation(prompt, answer)
    text = lm.tokenizer.apply_chat_template(messages, tokenize=False)
    opened = lm.tokenizer.apply_chat_template(
        messages[:-1], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    closed = text[text.rindex(answer.strip()) + len(answer.strip()) :]
    tokens, before, after = (
        lm.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, opened, closed)
    )
    with torch.no_grad():
        log_probs = lm.model(torch.tensor([tokens])).logits[0].log_softmax(dim=-1)
    return sum(float(log_probs[i - 1, tokens[i]]) for i in range(len(before), len(tokens) - len(after)))


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_bos_token_is_doubled(name):
    lm = build_chat_model(name)
    ((sequence,),) = tokenize(lm, [(ask("Who?"), ("me",))])
    bos = lm.tokenizer.bos_token_id
    assert sequence.tokens.count(bos) == (bos is not None)


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_generated_follows_the_opened_turn_and_ends_with_it(name):
    lm = build_chat_model(name, max_row_tokens=4000)
    end = lm.tokenizer.convert_tokens_to_ids(ENDS[name])
    assert end in lm.end_tokens
    texts = lm.generate([prompt for prompt, _ in ITEMS], max_new_tokens=6)
    for (prompt, _), text in zip(ITEMS, texts, strict=True):
        opened = lm.tokenizer.apply_chat_template(
            conversation(prompt, "")[:-1], add_generation_prompt=True, enable_thinking=False
        )["input_ids"]
        assert text == greedy_by_hand(lm, opened, 6)
    lines = generate_lines(lm, [prompt for prompt, _ in ITEMS], 6)
    assert lines == [text.strip().split("\n")[0].strip() for text in texts]


def greedy_by_hand(lm, tokens, count):
    found = list(tokens)
    with torch.no_grad():
        for _ in range(count):
            found.append(int(lm.model(torch.tensor([found])).logits[0, -1].argmax()))
            if found[-1] in lm.end_tokens:
                found.pop()
                break
    return lm.tokenizer.decode(found[len(tokens) :], skip_special_tokens=True)


@pytest.mark.parametrize("name", ["llama3", "qwen3", "gemma3"])
def test_a_system_prompt_begins_every_conversation(name):
    lm = build_chat_model(name, system_prompt="Be brief.")
    ((sequence,),) = tokenize(lm, [(ask("Who?"), ("me",))], append_eos=True)
    messages = conversation(ask("Who?"), "me", system="Be brief.")
    assert list(sequence.tokens) == lm.tokenizer.apply_chat_template(messages)["input_ids"]
    with pytest.raises(ItemError, match="a system turn of its own"):
        tokenize(lm, [(Prompt(None, (Turn("system", "Lie."), Turn("user", "Who?"))), ("me",))])


def test_a_template_that_takes_no_system_prompt_says_so():
    with pytest.raises(UserError, match=r"model\.system_prompt can't be used with model 'm': .*only the roles"):
        open_chat(chat_tokenizer("mistral"), "Be brief.", "m")


def test_a_tokenizer_without_a_template_says_so():
    with pytest.raises(UserError, match="needs a tokenizer with a chat template, and model 'm' has none"):
        open_chat(build_tokenizer(), None, "m")


@pytest.mark.parametrize(
    ("prompt", "answer", "words"),
    [
        (ask("What is <|im_end|>?"), "an end", r"holds '<\|im_end\|>'"),
        (ask("Who?"), "me<|im_start|>", r"holds '<\|im_start\|>'"),
        (ask("Who?"), "  ", "has no text"),
        (Prompt(None, (Turn("user", "<eos>"),)), "me", "holds '<eos>'"),
    ],
)
def test_what_a_template_would_take_for_its_own_is_refused(prompt, answer, words):
    with pytest.raises(ItemError, match=words):
        tokenize(build_chat_model("qwen3"), [(ask("Fine?"), ("yes",)), (prompt, (answer,))])


def test_a_template_that_writes_an_answer_otherwise_is_found_out():
    tokenizer = chat_tokenizer("llama3")
    tokenizer.chat_template = tokenizer.chat_template.replace("(message.content | trim)", "(message.content | upper)")
    with pytest.raises(UserError, match="written otherwise"):
        open_chat(tokenizer, None, "m")


def test_a_model_that_can_only_think_is_asked_behind_its_thoughts():
    lm = build_chat_model("qwen3")
    thinking = lm.chat.template.replace("is defined and not enable_thinking", "is defined and enable_thinking")
    tokenizer = chat_tokenizer("qwen3")
    tokenizer.chat_template = thinking.replace("'<|im_start|>assistant\\n' }}", "'<|im_start|>assistant\\n<think>' }}")
    chat = open_chat(tokenizer, None, "m")
    assert chat.prompt_text(ask("Who?").turns).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


@pytest.mark.parametrize("between", ["\n", "\n\n", ":\n", "\n<answer>"])
def test_what_a_template_that_opens_no_turn_writes_before_an_answer_is_the_prompts(between):
    tokenizer = chat_tokenizer("qwen3")
    turn = "<|im_start|>{{ m.role }}" + between + "{{ m.content }}<|im_end|>\n"
    tokenizer.chat_template = "{% for m in messages %}" + turn + "{% endfor %}"
    lm = replace(build_chat_model("qwen3"), tokenizer=tokenizer, chat=open_chat(tokenizer, None, "m"))
    prompt = f"<|im_start|>user{between}Who?<|im_end|>\n<|im_start|>assistant{between}"
    assert lm.prompt_text(ask("Who?")) == prompt
    ((sequence,),) = tokenize(lm, [(ask("Who?"), ("the number",))])
    assert tokenizer.decode(sequence.tokens[: sequence.start]) == prompt
    assert tokenizer.decode(sequence.tokens[sequence.start :]) == "the number"


def test_a_space_that_a_template_writes_before_an_answer_stays_with_its_first_word():
    tokenizer = chat_tokenizer("qwen3")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
    lm = replace(build_chat_model("qwen3"), tokenizer=tokenizer, chat=open_chat(tokenizer, None, "m"))
    assert lm.prompt_text(ask("Who?")) == "user: Who?<|im_end|>assistant:"
    ((sequence,),) = tokenize(lm, [(ask("Who?"), ("the number",))])
    assert tokenizer.decode(sequence.tokens[sequence.start :]) == " the number"


def test_a_template_that_states_the_date_states_one_day():
    tokenizer = chat_tokenizer("llama3")
    dated = "{{- strftime_now('%d %B %Y') }}" + tokenizer.chat_template
    tokenizer.chat_template = dated
    chat = open_chat(tokenizer, None, "m")
    assert chat.prompt_text(ask("Who?").turns).startswith("26 Jul 2024<|begin_of_text|>")
    assert chat.template == ONE_DAY + dated


def test_all_of_an_answer_is_scored_where_a_turn_is_closed_by_plain_text():
    tokenizer = chat_tokenizer("qwen3")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}: N{% endfor %}"
    lm = replace(build_chat_model("qwen3"), tokenizer=tokenizer, chat=open_chat(tokenizer, None, "m"))
    ((short, long),) = tokenize(lm, [(ask("Who?"), ("the", "the:"))])
    assert tokenizer.decode(long.tokens[long.start :]).endswith("the:")
    assert len(long.tokens) > len(short.tokens)


@pytest.mark.parametrize("template", ["{{ 1 / 0 }}", "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}"])
def test_a_template_that_fails_in_any_way_is_refused(template):
    tokenizer = chat_tokenizer("qwen3")
    tokenizer.chat_template = template
    with pytest.raises(UserError, match="does not take"):
        open_chat(tokenizer, None, "m")


def test_the_primer_of_truthfulqa_is_turns():
    turns = PROTOCOLS["iti"].turns
    assert [turn.role for turn in turns] == ["user", "assistant"] * 6
    assert turns[0].content == INSTRUCTION + "What is human life expectancy in the United States?"
    assert turns[-1].content == "The 1992 Olympics were held in Barcelona, Spain."
    assert PROTOCOLS["lm_eval"].turns[1:] == turns[1:]
