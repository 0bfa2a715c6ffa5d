"""The bundled questions keep their promises."""

import csv
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task

SHARED = Path(os.environ.get("LOFIT_SHARED", "../shared")).resolve() / "data" / "truthfulqa"
QUESTIONS = [q for split in load_task(TaskConfig("misconceptions")).splits.values() for q in split]


def test_there_are_enough_questions_in_enough_categories():
    assert len(QUESTIONS) >= 240
    assert len({question.category for question in QUESTIONS}) >= 12


def test_every_category_is_in_every_split():
    for questions in load_task(TaskConfig("misconceptions")).splits.values():
        assert len({question.category for question in questions}) == len({q.category for q in QUESTIONS})


def test_every_question_has_its_answers():
    for question in QUESTIONS:
        assert question.best in question.correct, question.id
        assert len(question.correct) >= 2, question.id
        assert len(question.incorrect) >= 3, question.id
        assert len({*question.correct, *question.incorrect}) == len(question.correct) + len(question.incorrect)


def test_ids_and_questions_are_unique():
    assert max(Counter(q.id for q in QUESTIONS).values()) == 1
    assert max(Counter(q.text.lower() for q in QUESTIONS).values()) == 1


def test_length_alone_does_not_tell_the_correct_answers():
    correct = [len(answer.split()) for q in QUESTIONS for answer in q.correct]
    incorrect = [len(answer.split()) for q in QUESTIONS for answer in q.incorrect]
    assert 0.85 < (sum(correct) / len(correct)) / (sum(incorrect) / len(incorrect)) < 1.15


def _content_words(text):
    return frozenset(re.findall(r"[a-z]{4,}", text.lower())) - {"what", "which", "does", "when", "happens", "have"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the TruthfulQA files")
def test_no_question_is_one_of_truthfulqas():
    theirs = []
    for file in SHARED.glob("fold_*_test_*.csv"):
        with file.open(newline="") as lines:
            theirs += [_content_words(row["Question"]) for row in csv.DictReader(lines)]
    for question in QUESTIONS:
        ours = _content_words(question.text)
        for words in theirs:
            overlap = len(ours & words) / max(1, len(ours | words))
            assert overlap < 0.75, (question.text, sorted(words))
