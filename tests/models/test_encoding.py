"""Texts become tokens in one way: no end token unless asked for, BOS as stated, and control tokens' names are text."""

import json
from unittest.mock import patch

import pytest
import torch
from making import training_config
from tiny_models import build_language_model, build_model, build_tokenizer, edit_all_heads, random_values
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions import contrast_edit
from lofit_cli.interventions.contrast_edit import ContrastEdit
from lofit_cli.models.encoding import check_round_trip, encode, first_tokens
from lofit_cli.models.load import load_model
from lofit_cli.models.logprobs import score_answers, tokenize, tokenize_items
from lofit_cli.models.weights import describe_model
from lofit_cli.schema.components import TrainerConfig
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem
from lofit_cli.training.trainer import train

TEXT = "Q: Which number follows 3?\nA: The right answer."
NAMED = "Q: What do <s>, </s> and <eos> mean?\nA: Nothing."


def byte_level(first="", last="", special=("<bos>", "<eos>")):
    """Return a byte-level tokenizer whose post-processor puts tokens before and after each text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [TEXT], trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, special_tokens=list(special))
    )
    around = [(token, tokenizer.token_to_id(token)) for token in (first, last) if token]
    if around:
        template = " ".join(part for part in (first, "$A", last) if part)
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=around)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>")


def llama2(first="<s>", last=""):
    """Return a tokenizer in the style of Llama 2: words begin with a mark, bytes stand for what is not known."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    decoder = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(decoder)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    tokenizer.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=299, special_tokens=list(special)))
    template = " ".join(part for part in (first, "$A", last) if part)
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {
    "byte-level": byte_level(),
    "byte-level with BOS": byte_level("<bos>"),
    "byte-level with an end": byte_level(last="<eos>"),
    "byte-level with both": byte_level("<bos>", "<eos>"),
    "byte-level with something else first": byte_level("<lang>", special=("<bos>", "<eos>", "<lang>")),
    "llama 2": llama2(),
    "llama 2 without BOS": llama2(""),
    "llama 2 with an end": llama2(last="</s>"),
}
APPENDING = [name for name in TOKENIZERS if "end" in name or "both" in name]


def with_tokenizer(tokenizer, **settings):
    lm = build_language_model("llama", **settings)
    object.__setattr__(lm, "tokenizer", tokenizer)
    return lm


def tokens_of(lm, text):
    return lm.encode([text])[0].tokens


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_an_ordinary_text_has_the_tokenizers_own_tokens_and_no_end(tokenizer):
    own = tokenizer(TEXT, return_offsets_mapping=True)
    num_ends = own["input_ids"][-1] == tokenizer.eos_token_id
    (found,) = encode(tokenizer, [TEXT], first_tokens(tokenizer, "auto"), set())
    assert found.tokens == own["input_ids"][: len(own["input_ids"]) - num_ends]
    assert found.ends == [end for _, end in own["offset_mapping"]][: len(found.tokens)]
    assert tokenizer.eos_token_id not in found.tokens


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_bos_is_added_or_left_out_as_asked_for(tokenizer):
    plain = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    bos = tokenizer.bos_token_id
    for add_bos, count in (("true", 1), ("false", 0)):
        (found,) = encode(tokenizer, [TEXT], first_tokens(tokenizer, add_bos), set())
        assert found.tokens[-len(plain) :] == plain
        assert found.tokens.count(bos) == count
        assert not count or found.tokens[0] == bos


def test_bos_that_there_is_not_is_refused():
    with pytest.raises(UserError, match=r"model.add_bos=true needs a tokenizer with a BOS token"):
        first_tokens(build_tokenizer(), "true")


@pytest.mark.parametrize("name", APPENDING)
@pytest.mark.parametrize("append_eos", [True, False])
def test_there_is_one_end_token_where_one_is_asked_for_and_none_elsewhere(name, append_eos):
    lm = with_tokenizer(TOKENIZERS[name])
    ((sequence, other),) = tokenize(lm, [("Q: x\nA:", [" No", " The right answer"])], append_eos)
    for tokens in (sequence.tokens, other.tokens):
        assert tokens.count(lm.tokenizer.eos_token_id) == append_eos
        assert (tokens[-1] == lm.tokenizer.eos_token_id) is append_eos
    answer = sequence.tokens[sequence.start : len(sequence.tokens) - append_eos]
    assert lm.tokenizer.decode(answer).endswith("No")


@pytest.mark.parametrize("name", APPENDING)
def test_scores_and_texts_are_those_of_the_same_tokenizer_that_appends_nothing(name):
    quiet = byte_level("<bos>" if "both" in name else "") if "byte" in name else llama2()
    appending, plain = with_tokenizer(TOKENIZERS[name]), with_tokenizer(quiet)
    items = [("Q: x\nA:", [" No", " The right answer"]), ("Which number\nA:", [" 3"])]
    assert score_answers(appending, items) == score_answers(plain, items)
    assert appending.generate(["Q: x\nA:", "Which number"], 5) == plain.generate(["Q: x\nA:", "Which number"], 5)


@pytest.mark.parametrize("append_eos", [True, False])
def test_training_sees_one_end_token_or_none(append_eos, tmp_path):
    losses = []
    for number, tokenizer in enumerate((byte_level(last="<eos>"), byte_level())):
        lm = with_tokenizer(tokenizer)
        items = [OpenItem("a", "", "Which number? A:", " the right answer", ("x",), " No")]
        task = GenerationTask(TaskConfig("t", append_eos=append_eos), {"train": items, "validation": items})
        (tmp_path / str(number)).mkdir()
        edit = edit_all_heads(offset=random_values(lm.geometry, 1))
        config = training_config(TrainerConfig(learning_rate=0.1, num_epochs=2))
        train(edit, lm, task, config, RunDir(tmp_path / str(number), "train_offsets"))
        losses.append([json.loads(line)["loss"] for line in (tmp_path / str(number) / "history.jsonl").open()])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_the_name_of_a_control_token_is_read_as_its_characters(tokenizer):
    lm = with_tokenizer(tokenizer)
    named = NAMED + "".join(tokenizer.all_special_tokens)
    text = tokens_of(lm, named)[len(first_tokens(tokenizer, "auto")) :]
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id}.intersection(text)
    assert tokenizer.decode(text, clean_up_tokenization_spaces=False).strip() == named
    ((sequence,),) = tokenize(lm, [(named, [" <eos> </s>"])])
    assert tokenizer.eos_token_id not in sequence.tokens


def unigram_with_named_tokens():
    """Return a tokenizer that holds `<s>` among its words, so that no option keeps the text `<s>` apart from it."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((c, -5.0) for c in "▁ <>/sabcdefghijklmnopqrtuvwxyz")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_a_control_token_that_cannot_be_read_as_text_is_refused():
    lm = with_tokenizer(unigram_with_named_tokens())
    assert tokens_of(lm, "an ordinary text & more")
    with pytest.raises(UserError, match="item 2 holds '</s>', which the model's tokenizer can't read as text"):
        tokenize_items(lm, [("one", [" a", " b"]), ("what is a </s> for", [" it ends"])])
    with pytest.raises(UserError, match="item 1 holds '<s>'"):
        lm.generate("what is a <s> for", 2)


def test_a_models_own_end_token_that_is_not_a_special_one_is_refused_in_a_text():
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<turn_end>", special=False)])
    lm = with_tokenizer(tokenizer)
    assert tokens_of(lm, "a <turn_end> b").count(tokenizer.convert_tokens_to_ids("<turn_end>")) == 1
    lm.model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids("<turn_end>")]
    with pytest.raises(UserError, match="holds '<turn_end>'"):
        tokens_of(lm, "a <turn_end> b")


def test_an_end_by_default_that_is_an_ordinary_character_is_text():
    lm = with_tokenizer(byte_level())
    lm.model.generation_config.eos_token_id = lm.tokenizer.convert_tokens_to_ids("w")
    assert tokens_of(lm, "a word")


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_words_come_back_with_their_spaces(tokenizer):
    check_round_trip(tokenizer, "model.id=x")


def test_a_tokenizer_that_gives_capitals_back_in_lower_case_is_taken():
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    check_round_trip(tokenizer, "model.id=x")


def lose_spaces_before():
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(" ", "")
    return tokenizer


def lose_spaces_after():
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(" ", "")])
    return tokenizer


def wrong_pre_tokenizer():
    """Return a byte-level tokenizer read as one of word marks, as transformers 5.3.0 does for some labels."""
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


@pytest.mark.parametrize("make_tokenizer", [lose_spaces_before, lose_spaces_after, wrong_pre_tokenizer])
def test_a_tokenizer_that_loses_spaces_is_refused(make_tokenizer, tmp_path):
    build_model("llama").save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match=r"turns 'which of the two answers is right' into '.+': correct tokenizer_class"
    ):
        load_model(ModelConfig(str(tmp_path), dtype="float32"))


@pytest.mark.parametrize(("add_bos", "first"), [("auto", []), ("true", ["<bos>"]), ("false", []), (True, ["<bos>"])])
def test_what_texts_begin_with_is_stated(add_bos, first, tmp_path):
    build_model("llama").save_pretrained(tmp_path)
    byte_level().save_pretrained(tmp_path)
    lm = load_model(ModelConfig(str(tmp_path), dtype="float32", add_bos=add_bos))
    assert describe_model(lm)["first_tokens"] == first
    assert tokens_of(lm, TEXT)[: len(first)] == lm.tokenizer.convert_tokens_to_ids(first)
    ((sequence,),) = tokenize_items(lm, [("Q:", [" A"])])
    assert sequence.start == len(tokens_of(lm, "Q:"))


def test_instructions_of_a_contrast_vector_are_encoded_alike():
    lm, instruction = with_tokenizer(byte_level("<bos>", "<eos>")), "Be <eos> right.\n"
    with patch.object(contrast_edit, "Twin") as twin, ContrastEdit(instruction, instruction, 1.0, 0).attach(lm):
        assert [call.args[1] for call in twin.call_args_list] == 2 * [tokens_of(lm, instruction)]
    assert lm.tokenizer.eos_token_id not in tokens_of(lm, instruction)


def test_a_prompt_without_text_is_refused():
    with pytest.raises(UserError, match="item 2 has no token in its prompt"):
        with_tokenizer(byte_level()).generate(["Q:", ""], 3)
    with torch.no_grad():
        assert len(with_tokenizer(byte_level("<bos>")).generate(["Q:", ""], 3)) == 2
