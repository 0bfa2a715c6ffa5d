"""Rows with a chosen and a rejected answer, in TRL's forms."""

import json

import pytest
from chat_models import build_chat_model
from tiny_models import build_language_model

from lofit_cli.errors import UserError
from lofit_cli.evaluation.measure import measure_split
from lofit_cli.models.logprobs import score_answers
from lofit_cli.prompts import Prompt, ask
from lofit_cli.schema.rows import RowsConfig
from lofit_cli.tasks import load_task

STANDARD = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "What colour is the sky?"}
CHOSEN, REJECTED = ({"role": "assistant", "content": text} for text in ("It is blue.", "It is green."))
FORMS = {
    "explicit": {"prompt": [USER], "chosen": [CHOSEN], "rejected": [REJECTED]},
    "implicit": {"chosen": [USER, CHOSEN], "rejected": [USER, REJECTED]},
    "text and turns": {"prompt": USER["content"], "chosen": [USER, CHOSEN], "rejected": [USER, REJECTED]},
    "text and answers": {"prompt": USER["content"], "chosen": [CHOSEN], "rejected": [REJECTED]},
    "turns twice": {"prompt": [USER], "chosen": [USER, CHOSEN], "rejected": [USER, REJECTED]},
}


def load(folder, *rows, **settings):
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(RowsConfig(name="file", files={"test": str(file)}, **settings))


def test_texts_follow_their_prompt_as_they_are(tmp_path, capsys):
    task = load(tmp_path, STANDARD)
    (item,) = task.items("test")
    assert task.metrics == ("accuracy", "margin")
    assert task.examples("test") == [(ask("The sky is"), (" blue.", " green."), 1)]
    assert (task.objective, task.protocol("iti", "test")) == ("dpo", "zero-shot")
    row = task.predict(item, [-3.0, -4.5])
    assert (row.metrics, row.answers) == ({"accuracy": 1.0, "margin": 1.5}, ["blue.", "green."])
    assert task.predict(item, [-3.0, -3.0]).metrics == {"accuracy": 0.0, "margin": 0.0}
    assert "task.form=preference" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ({"prompt": "Sky?\n", "chosen": "blue", "rejected": " red"}, ("blue", " red")),
        ({"prompt": "Sky?", "chosen": "blue", "rejected": "\nred"}, (" blue", "\nred")),
        ({"question": "Sky?", "chosen": "blue", "rejected": "red"}, (" blue", " red")),
    ],
)
def test_a_space_stands_between_prompt_and_answer_where_neither_has_brought_one(row, answers, tmp_path):
    task = load(tmp_path, row)
    assert task.answers(task.items("test")[0]) == answers


@pytest.mark.parametrize("name", FORMS)
def test_conversations_of_every_form_are_the_same(name, tmp_path):
    (item,) = load(tmp_path, FORMS[name]).items("test")
    assert item.prompt == Prompt(None, (("user", USER["content"]),))
    assert (item.chosen, item.rejected, item.text) == ("It is blue.", "It is green.", USER["content"])


def test_turns_before_the_last_ones_are_the_prompt(tmp_path):
    before = [SYSTEM, USER, CHOSEN, {"role": "user", "content": "And the grass?"}]
    row = {"chosen": [*before, REJECTED], "rejected": [*before, CHOSEN]}
    (item,) = load(tmp_path, row).items("test")
    assert [turn.role for turn in item.prompt.turns] == ["system", "user", "assistant", "user"]
    assert (item.chosen, item.rejected) == ("It is green.", "It is blue.")


def test_conversations_are_measured_in_turns_and_refused_without(tmp_path):
    task = load(tmp_path, FORMS["explicit"], {**FORMS["explicit"], "prompt": [SYSTEM, USER]})
    lm = build_chat_model("qwen3")
    rows = measure_split(lm, task, "test", "iti")
    plain = score_answers(lm, [(ask(USER["content"]), ("It is blue.", "It is green."))])
    assert rows[0].log_probs == pytest.approx(plain[0], abs=1e-4)
    assert rows[1].log_probs != pytest.approx(plain[0], abs=1e-2)
    with pytest.raises(UserError, match=r"question test-1 .* is a conversation; set model\.chat_template=true"):
        measure_split(build_language_model("llama"), task, "test", "iti")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen": []}, "one turn of the assistant's after the prompt"),
        ({"chosen": [USER]}, "one turn of the assistant's after the prompt"),
        ({"chosen": [CHOSEN, CHOSEN]}, "field 'chosen' holds .* one turn of the assistant's"),
        ({"rejected": [CHOSEN]}, "its chosen and its rejected answer are the same"),
        ({"rejected": "green"}, "line 1: its field 'rejected' holds"),
        ({"prompt": [{"role": "tool", "content": "x"}]}, "'prompt' holds \"tool\"; it must be a list of turns"),
        ({"prompt": [{"role": "user"}]}, "line 1, prompt 1 has no 'content'"),
        ({"prompt": []}, "has no prompt"),
        ({"prompt": None}, "has no prompt"),
        ({"chosen": [{**CHOSEN, "tool_calls": [1]}]}, "chosen 1 has 'tool_calls' too"),
        ({"question": "Why?"}, "has turns and a 'question' beside them"),
        ({"prompt": "Other?", "chosen": [USER, CHOSEN], "rejected": [USER, REJECTED]}, "that its turns do not have"),
        ({"chosen": [{**CHOSEN, "content": 5}]}, "field 'content' holds 5; it must be some text"),
    ],
)
def test_rows_that_hold_no_pair_of_answers_are_refused_by_field(change, words, tmp_path):
    with pytest.raises(UserError, match=words):
        load(tmp_path, {**FORMS["explicit"], **change}, form="preference")


def test_roles_are_part_of_what_is_measured(tmp_path):
    rows = [{**FORMS["explicit"], "prompt": [{**USER, "role": role}, USER]} for role in ("system", "user")]
    assert len({load(tmp_path, row).questions_hash("test") for row in rows}) == 2
    with pytest.raises(UserError, match="is for texts, and"):
        load(tmp_path, rows[0], prompt="Say {prompt}")


def test_a_text_without_its_other_answer_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"rows\.jsonl, line 1 has no 'rejected'"):
        load(tmp_path, {"prompt": "a", "chosen": "b"}, form="preference")
