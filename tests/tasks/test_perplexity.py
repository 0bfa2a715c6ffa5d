"""A plain text in pieces: where it is cut, what a piece is worth, and what is refused."""

import math

import pytest
import torch
from tiny_models import build_language_model, build_tokenizer

from lofit_cli.artifacts.predictions import LogProb
from lofit_cli.errors import UserError
from lofit_cli.evaluation.measure import cut_items, describe_protocol, measure_split
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.schema.tasks import PerplexityConfig
from lofit_cli.tasks import SAMPLES_DIR, load_task
from lofit_cli.tasks.forms.pieces import cut_text

TEXT = "The number of the house is 12.\n\nNobody knows the answer – not even café owners. " * 9


def load(folder, text=TEXT, **settings):
    (folder / "some.txt").write_text(text, encoding="utf-8")
    return load_task(PerplexityConfig("perplexity", data_dir=str(folder / "some.txt"), **settings))


@pytest.mark.parametrize("most", [8, 9, 64, 100_000])
def test_pieces_hold_the_whole_text_and_are_about_alike_in_length(tmp_path, most):
    lm = build_language_model("llama")
    pieces = [item.text for item in cut_items(lm, load(tmp_path, piece_tokens=most)).items("test")]
    assert "".join("".join(pieces).split()) == "".join(TEXT.split())
    total = len(build_tokenizer()(TEXT.strip())["input_ids"])
    assert len(pieces) == math.ceil(total / most)
    sizes = [len(build_tokenizer()(piece)["input_ids"]) for piece in pieces]
    # What is stripped at a cut, and a token that was made across it, make a difference of some tokens.
    assert max(sizes) <= most + 2
    assert max(sizes) - min(sizes) <= 5


def test_a_text_is_cut_where_tokens_end():
    assert cut_text("one two three", [3, 7, 13], 2) == ["one", "two three"]
    assert cut_text("one two three", [3, 7, 13], 3) == ["one two three"]
    # Both bytes of a character end where it does.
    assert cut_text("aéb", [1, 2, 2, 3], 2) == ["aé", "b"]


def mean_by_hand(model, text):
    tokens = torch.tensor([build_tokenizer()(text)["input_ids"]])
    with torch.no_grad():
        log_probs = model(input_ids=tokens, use_cache=False).logits[0, :-1].double().log_softmax(-1)
    return float(log_probs.gather(-1, tokens[0, 1:, None]).mean())


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_a_piece_is_worth_the_mean_over_its_tokens(tmp_path, batching):
    lm = build_language_model("llama", batching, max_row_tokens=200)
    task = cut_items(lm, load(tmp_path, piece_tokens=40))
    rows = measure_split(lm, task, "test", "iti")
    by_hand = [mean_by_hand(lm.model, item.text) for item in task.items("test")]
    assert [row.metrics["token_logprob"] for row in rows] == pytest.approx(by_hand, abs=1e-4)
    assert task.derive(rows) == {"perplexity": pytest.approx(math.exp(-sum(by_hand) / len(by_hand)), rel=1e-4)}
    assert describe_protocol(lm, task, "iti", "test") == "pieces of 40 tokens, from the second token"


def test_a_metric_is_of_the_tokens_that_were_scored(tmp_path):
    task = load(tmp_path)
    row = task.predict(task.items("test")[0], [LogProb(-12.0, 8)])
    assert row.metrics == {"token_logprob": -1.5}
    assert len(row.question) < 100 < len(row.answers[0])


def test_fewer_pieces_are_drawn_and_always_the_same(tmp_path):
    lm = build_language_model("llama")
    drawn = [cut_items(lm, load(tmp_path, piece_tokens=20, num_test=3)).items("test") for _ in range(2)]
    assert len(drawn[0]) == 3
    assert drawn[0] == drawn[1]


def test_a_folder_has_a_text_of_a_known_name_and_a_file_names_its_own_tables(tmp_path):
    sample = load_task(TaskConfig("perplexity", data_dir="sample"))
    assert sample.items("test")[0].text == (SAMPLES_DIR / "perplexity" / "text.txt").read_text().strip()
    assert (sample.name, load(tmp_path).name) == ("perplexity", "perplexity, some.txt")


def test_another_text_has_another_hash(tmp_path):
    lm = build_language_model("llama")
    one, same, other = (
        cut_items(lm, load(tmp_path, text, piece_tokens=size)).questions_hash("test")
        for text, size in ((TEXT, 64), (TEXT, 64), (TEXT.replace("12", "13"), 64))
    )
    assert one == same != other


@pytest.mark.parametrize("split", ["train", "validation"])
def test_nothing_is_trained_on_it(tmp_path, split):
    with pytest.raises(UserError, match=f"task 'perplexity' has a text to measure and no {split} split; train on ano"):
        load(tmp_path).examples(split)


def test_a_text_that_is_not_there_or_empty_or_no_text_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"task.data_dir must be set for task 'perplexity'"):
        load_task(TaskConfig("perplexity"))
    with pytest.raises(UserError, match=r"task.data_dir=.*nowhere.txt is not there; name a plain text file"):
        load_task(TaskConfig("perplexity", data_dir=str(tmp_path / "nowhere.txt")))
    with pytest.raises(UserError, match=r"has no file text.txt"):
        load_task(TaskConfig("perplexity", data_dir=str(tmp_path)))
    with pytest.raises(UserError, match="is an empty file"):
        load(tmp_path, " \n ")
    (tmp_path / "some.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="it must be a plain text file in UTF-8"):
        load_task(TaskConfig("perplexity", data_dir=str(tmp_path / "some.txt")))
    with pytest.raises(UserError, match=r"task.piece_tokens=7 is not allowed; it must be 8 or more"):
        PerplexityConfig("perplexity", piece_tokens=7)


def test_a_text_of_one_token_is_refused_by_name(tmp_path):
    lm = build_language_model("llama")
    with pytest.raises(UserError, match=r"question piece-0 \('N'\) has fewer than two tokens"):
        measure_split(lm, cut_items(lm, load(tmp_path, "N")), "test", "iti")


def test_pieces_longer_than_the_model_has_positions_for_are_refused(tmp_path):
    lm = build_language_model("gpt2", n_positions=70)
    with pytest.raises(
        UserError, match=r"task.piece_tokens=100 makes pieces of 100 tokens, and .* positions for 70; low"
    ):
        cut_items(lm, load(tmp_path, piece_tokens=100))
    # A text that is shorter than a piece may be is one piece.
    assert len(cut_items(lm, load(tmp_path, TEXT[:40], piece_tokens=100)).items("test")) == 1
