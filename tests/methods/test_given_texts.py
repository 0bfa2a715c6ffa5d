"""A text that is given stands before every prompt, byte for byte; with the protocol `urial` it is URIAL."""

import pytest
from chat_models import build_chat_model
from making import make, make_task
from tiny_models import build_language_model

from lofit_cli.artifacts.seen_items import read_seen
from lofit_cli.errors import UserError

TEXT = (
    "# Instruction\n\nBe kind, and say what is so.\n\n# Query:\n```\nHow are you?\n```\n\n# Answer:\n```\nWell.\n```\n"
)


def test_a_question_stands_in_urials_frame_behind_the_text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_bytes(TEXT.encode())
    edit = make("icl", build_language_model("llama"), tmp_path, text=str(file))
    task = make_task()
    item = task.items("test")[0]
    prompt = task.prompt(item, "urial", edit.demonstrations).text
    # Re-Align/URIAL: urial text, then "\n# Query:\n```\n", the question, "\n```\n", "\n# Answer:\n```\n".
    assert prompt == TEXT + "\n# Query:\n```\n" + item.text + "\n```\n" + "\n# Answer:\n```\n"
    asked, answers = task.asked(item, "urial", edit.demonstrations)
    assert (asked.text, answers) == (prompt, tuple(map(str.strip, task.answers(item))))
    assert task.asked(item, "iti")[1] == task.answers(item)
    assert task.prompt(item, "iti").text.endswith(f"Q: {item.text}\nA:")
    assert read_seen(tmp_path / "icl") == set()


def test_a_text_is_refused_where_it_would_vanish_from_turns(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    edit = make("icl", build_language_model("llama"), tmp_path, text=str(tmp_path / "text.txt"))
    with (
        pytest.raises(UserError, match=r"method.text of this run is a text, and with model.chat_template=true prompts"),
        edit.attach(build_chat_model("qwen3")),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff\xfe\xfa", "is not text in UTF-8"), (b" \n", "is empty"), (None, "none.txt")]
)
def test_a_text_that_is_none_is_refused(content, said, tmp_path):
    file = tmp_path / "none.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=said):
        make("icl", build_language_model("llama"), tmp_path, text=str(file))
