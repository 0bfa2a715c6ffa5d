"""Bias and other text through the stages: what an edit that was trained elsewhere does to them."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from refusals import refused
from stage_runs import FAST, lines, manifest, ok

HEADS = "head_mask=heads.json"


@pytest.fixture
def trained(lofit):
    """Train offsets on the small TruthfulQA into runs/offsets."""
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    ok(lofit("train-offsets", HEADS, "trainer.learning_rate=0.3", *FAST, "hydra.run.dir=runs/offsets"))
    return lofit


def evaluated(lofit, name, intervention, *settings):
    folder = f"runs/evaluate/{name}-{Path(intervention).name}"
    task = (f"task={name}", "task.data_dir=sample", *settings)
    shown = ok(lofit("evaluate", *task, f"intervention={intervention}", f"hydra.run.dir={folder}")).stdout
    return shown, pq.read_table(f"{folder}/predictions.parquet").to_pydict(), _means(folder), manifest(folder)


def _means(folder):
    return {name: found["mean"] for name, found in json.loads(Path(folder, "metrics.json").read_text()).items()}


def test_a_run_trained_on_questions_is_measured_on_other_text(trained):
    base, edited = (evaluated(trained, "perplexity", name, "task.piece_tokens=64") for name in ("none", "runs/offsets"))
    for shown, rows, means, facts in (base, edited):
        assert means["token_logprob"] == pytest.approx(np.mean(rows["token_logprob"]))
        assert means["perplexity"] == pytest.approx(math.exp(-means["token_logprob"]))
        assert f"{means['token_logprob']:.2f} nats" in shown
        assert "mean %" not in shown
        assert f"{means['perplexity']:.2f} choices a token" in shown
        assert facts["protocol"] == "pieces of 64 tokens, from the second token"
        assert (facts["task"], facts["metrics"]) == ("perplexity", ["token_logprob"])
    assert base[1]["token_logprob"] != pytest.approx(edited[1]["token_logprob"], abs=1e-4)
    assert base[3]["questions_hash"] == edited[3]["questions_hash"]
    table = ok(trained("compare")).stdout
    assert "TOKEN_LOGPROB" in table
    assert " nats may go unnoticed" in " ".join(table.split())


def test_a_finished_measurement_is_shown_again_with_what_follows_from_it(lofit):
    first, *_ = evaluated(lofit, "stereoset", "none")
    again, *_ = evaluated(lofit, "stereoset", "none")
    assert "ICAT" in first
    assert [line for line in again.splitlines() if "ICAT" in line] == [
        line for line in first.splitlines() if "ICAT" in line
    ]


def test_icat_and_bias_scores_are_those_of_the_rows(lofit):
    _, rows, means, facts = evaluated(lofit, "stereoset", "none")
    ss, lms = (100 * np.mean(rows[name]) for name in ("ss", "lms"))
    assert 100 * means["icat"] == pytest.approx(lms * min(ss, 100 - ss) / 50)
    assert facts["metrics"] == ["ss", "lms"]
    _, rows, means, _ = evaluated(lofit, "bbq", "none")
    signs = np.array(rows["bias_diff"])
    is_open = np.array([category.endswith(", ambig") for category in rows["category"]])
    assert means["s_amb"] == pytest.approx(signs[is_open].mean())
    assert means["s_dis"] == pytest.approx(signs[~is_open].sum() / np.abs(signs[~is_open]).sum())


def test_sentences_are_trained_against_their_stereotype_and_compared(lofit):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    task = ("task=crows_pairs", "task.data_dir=sample")
    trained = ("trainer.learning_rate=0.03", "trainer.num_epochs=10", "hydra.run.dir=runs/against")
    ok(lofit("train-offsets", *task, HEADS, *trained))
    base, edited = (evaluated(lofit, "crows_pairs", name) for name in ("none", "runs/against"))
    gaps = [np.array([less - more for less, more in rows["log_probs"]]) for _, rows, _, _ in (base, edited)]
    for (shown, rows, means, facts), gap in zip((base, edited), gaps, strict=True):
        assert rows["stereotype"] == [float(value < 0) for value in gap]
        assert rows["abs_margin"] == pytest.approx(np.abs(gap))
        assert means["abs_margin"] == pytest.approx(np.abs(gap).mean())
        assert f"{means['abs_margin']:.2f} nats" in shown
        assert f"{100 * means['stereotype']:.2f} %" in shown
        assert facts["protocol"] == "whole sentence, from the second token"
    for folder in ("against", "evaluate/crows_pairs-none"):
        assert json.loads(Path("runs", folder, "splits.json").read_text())["test"] == base[1]["question_id"]
    losses = [line["loss"] for line in lines("runs/against/history.jsonl")]
    assert np.mean(losses[-5:]) < np.log(2) - 0.05
    ok(lofit("compare"))


def test_all_of_a_set_is_measured_where_its_shares_say_so(lofit):
    shares = "task.shares={train: 0, validation: 0, test: 1}"
    _, rows, _, _ = evaluated(lofit, "crows_pairs", "none", shares)
    assert len(rows["question_id"]) == 64


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("evaluate", "task=perplexity"), "run it first or name a directory"),
        (("train-offsets", "task=perplexity", "method=bitfit"), "has a text to measure and no train split"),
        (("evaluate", "task=perplexity", "eval.split=validation", "intervention=none"), "and no validation split"),
        (("evaluate", "task=crows_pairs", "task.shares={test: 0.5}", "intervention=none"), "make them 1"),
        (
            ("evaluate", "task=crows_pairs", "task.shares={train: 1, validation: 0, test: 0}", "intervention=none"),
            "to which task.shares gives 0 of all rows; raise that share",
        ),
        (("evaluate", "task=perplexity", "task.piece_tokens=1", "intervention=none"), "it must be 8 or more"),
        (("evaluate", "task=crows_pairs", "model.chat_template=true", "intervention=none"), "scores whole texts"),
        (("train-offsets", "task=crows_pairs", "method=sink", "method.choose_by=entropy"), "has no prompts whose next"),
    ],
)
def test_what_such_texts_are_not_for_is_refused(lofit, words, sentence):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    heads = (HEADS,) if "method=sink" in words else ()
    refused(lofit(*words, "task.data_dir=sample", *heads), sentence)


def test_what_it_takes_is_planned_by_pieces(lofit):
    shown = ok(lofit("evaluate", "task=perplexity", "task.data_dir=sample", "intervention=none", "--plan")).stdout
    many = ok(
        lofit(
            "evaluate", "task=perplexity", "task.data_dir=sample", "task.piece_tokens=32", "intervention=none", "--plan"
        )
    ).stdout
    counts = [int("".join(c for c in text.split(" items")[0].split()[-1] if c.isdigit())) for text in (shown, many)]
    assert 1 < counts[0] < counts[1]
