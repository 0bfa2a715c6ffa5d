"""The texts that are read: the user's file, or our own of another task."""

import pytest
from chat_models import build_chat_model
from tiny_models import build_language_model

from lofit_cli.description.passes import lay_out
from lofit_cli.description.sources import find_texts
from lofit_cli.description.texts import cut_texts
from lofit_cli.errors import UserError
from lofit_cli.prompts import ask
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("\ufeffone\r\n  two  \r\n", ["one", "two"]),
        ("one\nmore\n\n\n two\n\n", ["one\nmore", "two"]),
        ("one\nmore\n\n", ["one", "more"]),
        ("one\nmore\n \t\ntwo", ["one\nmore", "two"]),
    ],
)
def test_a_file_holds_lines_or_paragraphs(content, texts, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes(content.encode())
    assert find_texts(str(file), 9, ["kinship"]) == (str(file), texts)
    assert find_texts(str(file), 1, ["kinship"])[1] == texts[:1]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b" \n\n\t\n", "is empty"), (b"\xff\xfe", "no text in UTF-8"), (None, "could not be read")],
)
def test_a_file_without_text_is_refused(content, words, tmp_path):
    file = tmp_path / "texts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=words) as refused:
        find_texts(str(file), 9, ["kinship"])
    assert f"text={file}" in str(refused.value)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (["kinship"], "misconceptions"),
        (["clutrr", "mquake"], "misconceptions"),
        (["misconceptions"], "kinship"),
        (["truthfulqa"], "kinship"),
        (["svamp", "kinship"], "misconceptions"),
        (["svamp", "misconceptions"], "kinship"),
        (["kinship", "misconceptions", "truthfulqa"], "misconceptions"),
    ],
)
def test_our_own_texts_are_of_another_task(tasks, expected):
    source, texts = find_texts(None, 200, tasks)
    assert expected in source
    assert len({*texts}) == 200


def test_our_own_texts_do_not_all_begin_alike():
    task = load_task(TaskConfig("kinship"))
    _, stories = find_texts(None, 50, ["truthfulqa"])
    assert stories[0] in task.items("test")[0].text
    assert len({story[:12] for story in stories}) > 25


def test_a_long_text_is_cut_where_its_last_token_ends():
    lm = build_language_model("llama")
    found = cut_texts(lm, "here", ["x" * 300, "abcdefg"])
    assert [len(tokens) for tokens in found.tokens] == [128, 7]
    assert found.texts == ["x" * 128, "abcdefg"]


def test_texts_that_tell_nothing_are_refused():
    lm = build_language_model("llama")
    with pytest.raises(UserError, match="text=here has no text of more than 5 tokens"):
        cut_texts(lm, "here", ["abc", "ab"])


def test_a_text_that_is_too_long_for_what_stands_before_it_is_quoted():
    lm = build_language_model("llama", max_position_embeddings=40)
    texts = cut_texts(lm, "here", ["abcdefgh", "x" * 60])
    assert len(texts.tokens[1]) == 40
    assert len(lay_out(lm, texts)) == 2
    with lm.begun([0]), pytest.raises(UserError, match=r"text 'x{40}' of here has 41 tokens with its prompt"):
        lay_out(lm, texts)


def test_turns_do_not_stand_before_texts_that_are_in_none():
    lm = build_chat_model("qwen3")
    texts = cut_texts(lm, "here", ["abcdefgh"])
    assert len(lay_out(lm, texts)) == 1
    with (
        lm.showing(ask("Who?").answered(" I.")),
        pytest.raises(UserError, match=r"method=icl with model.chat_template=true shows turns .* leave it out of"),
    ):
        lay_out(lm, texts)
