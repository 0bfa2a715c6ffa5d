"""Which words a run's training answers are full of, by a count that can be done by hand."""

from dataclasses import replace

import pytest
from describing import read_texts
from making import make_task
from manifests import manifest_of
from tiny_models import build_language_model

from lofit_cli.artifacts.manifest import TrainOffsetsManifest
from lofit_cli.artifacts.typed import read_typed
from lofit_cli.description.sources import read_training_answers
from lofit_cli.description.words import Words, find_common_words, share_in_answers
from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task


def test_a_word_is_common_where_its_odds_are_higher_in_the_answers():
    lm = build_language_model("llama")
    texts = read_texts(lm, ["aabbcc dd"]).tokens
    assert [lm.tokenizer.decode([token]) for token in texts[0]] == list("aabbcc dd")
    # With 0.5 more on each side: a 3.5/3.5 against 2.5/7.5, b 1.5/5.5 against the same, x 1.5/5.5 against 0.5/9.5.
    # White space alone: 1.5/5.5 against 1.5/8.5.
    assert find_common_words(lm, ["aaAbx "], texts) == {"a", "x", " "}


def test_tokens_are_named_with_whether_their_word_is_common():
    lm = build_language_model("llama")
    ids = [lm.tokenizer.encode(letter)[0] for letter in ("A", "b", " ")]
    named = Words(lm.tokenizer, {"a"}).name(ids, [3, 2, 1])
    assert [(token.text, token.id, token.value, token.in_answers) for token in named] == [
        ("A", ids[0], 3, True),
        ("b", ids[1], 2, False),
        (" ", ids[2], 1, False),
    ]
    assert share_in_answers(named) == pytest.approx(1 / 3)
    assert share_in_answers([]) == 0


def made_on(**settings):
    config = TaskConfig("kinship", num_train=3, **settings)
    task = load_task(config)
    about = {"task": "kinship", "dataset_hash": task.facts()["dataset_hash"], "config": {"task": vars(config)}}
    return task, read_typed(TrainOffsetsManifest, manifest_of("train_offsets", **about))


def test_the_answers_are_those_that_were_chosen_in_training():
    task, manifest = made_on()
    assert read_training_answers(manifest) == [item.answer for item in task.items("train")]
    pairs = [answer for example in make_task().examples("train") for answer in example.answers[:1]]
    assert pairs == [" a0.", " a1.", " a2.", " a3."]


def test_answers_of_other_items_than_the_run_s_are_not_taken():
    _, manifest = made_on()
    other = replace(manifest, dataset_hash="0" * 64)
    with pytest.raises(UserError, match="has other items now than those it was trained on"):
        read_training_answers(other)
    with pytest.raises(UserError, match="states no task"):
        read_training_answers(replace(manifest, config={}))
    with pytest.raises(UserError, match="are a package's own"):
        read_training_answers(replace(manifest, config={"task": {"name": "kinship", "colour": "blue"}}))
