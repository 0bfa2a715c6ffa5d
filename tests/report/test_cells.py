"""Names and words of a comparison."""

import math
from types import SimpleNamespace

import pytest

from lofit_cli.analysis.comparison import ComparedMetric, ComparedRow, ComparedSection
from lofit_cli.analysis.intervals import Interval
from lofit_cli.analysis.statistics import PairedDifference
from lofit_cli.artifacts.predictions import NATS, PERCENT
from lofit_cli.report.comparison.summary import summarise_sections
from lofit_cli.report.comparison.words import describe_cost, describe_section, describe_tests, name_sections

FACTS = {
    "model": "hub/llama",
    "model_hash": "a",
    "dtype": "float32",
    "first_tokens": [],
    "chat_template": None,
    "quantization": None,
    "system_prompt": None,
    "num_test": None,
    "task": "truthfulqa",
    "split": "test",
    "protocol": "iti",
}

FLIPS = "sign flips, p >= 0.0001"


@pytest.mark.parametrize(
    ("others", "names"),
    [
        ([], ["truthfulqa"]),
        ([{"task": "clutrr"}], ["truthfulqa", "clutrr"]),
        ([{"protocol": "lm_eval"}], ["truthfulqa-iti", "truthfulqa-lm_eval"]),
        ([{"model": "/a/qwen"}], ["truthfulqa-llama", "truthfulqa-qwen"]),
        ([{"model": "other/llama"}], ["truthfulqa-llama", "truthfulqa-llama-2"]),
        ([{"first_tokens": ["<s>"]}], ["truthfulqa-no-bos", "truthfulqa-<s>"]),
        ([{"quantization": "nf4"}], ["truthfulqa-not-quantised", "truthfulqa-nf4"]),
        (
            [{"dtype": "bfloat16"}, {"protocol": "lm_eval"}],
            ["truthfulqa-iti-float32", "truthfulqa-iti-bfloat16", "truthfulqa-lm_eval"],
        ),
    ],
)
def test_sections_have_short_names_of_their_own(others, names):
    sections = [ComparedSection(FACTS | other, ("mc1",), ()) for other in [{}, *others]]
    assert name_sections(sections) == names


def test_quantised_models_are_never_averaged_with_whole_ones():
    settings = ({}, {"task": "clutrr"}, {"quantization": "nf4"}, {"quantization": "nf4", "task": "clutrr"})
    summaries = summarise_sections([ComparedSection(FACTS | other, (), ()) for other in settings])
    titles = ["hub/llama (float32", "hub/llama (float32, quantised to nf4"]
    assert [summary.title.split(")")[0] for summary in summaries] == titles
    assert [summary.facts.get("quantization") for summary in summaries] == [None, "nf4"]


def test_texts_that_begin_otherwise_are_told_apart_in_titles_and_never_averaged():
    sections = [
        ComparedSection(FACTS | other, (), ())
        for other in ({}, {"task": "clutrr"}, {"first_tokens": ["<s>"]}, {"first_tokens": ["<s>"], "task": "clutrr"})
    ]
    begins = ["hub/llama (float32", "hub/llama (float32, texts begin with <s>"]
    titles = [describe_section(section) for section in sections]
    assert [title.split(")")[0] for title in titles] == [begins[0], begins[0], begins[1], begins[1]]
    assert [summary.title.split(")")[0] for summary in summarise_sections(sections)] == begins


def test_the_words_below_a_table_name_each_test_once_with_its_floor():
    point, nothing = Interval(0.1, 0.3), []
    found = [PairedDifference(0.2, point, 0.052, 0.01, name) for name in ("McNemar, exact", FLIPS, FLIPS)]
    metrics = {
        name: ComparedMetric(0.5, point, None, paired, nothing, 0.03)
        for name, paired in zip(("mc1", "mc2", "mc3"), found, strict=True)
    }
    row = ComparedRow("lofit", (), False, (0,), metrics)
    said = describe_tests(ComparedSection(FACTS, ("mc1", "mc2", "mc3"), (row,)))
    assert said.startswith("p: McNemar, exact for MC1; sign flips, p >= 0.0001 for MC2, MC3; adjusted (Holm) for the 3")
    assert "what the unadjusted test does not reject" in said
    assert "under 5.2 points" in said


def test_nothing_is_said_of_tests_where_there_are_none():
    row = ComparedRow("none", (), True, (), {"mc1": ComparedMetric(0.5, Interval(0.1, 0.9), None, None, [])})
    assert describe_tests(ComparedSection(FACTS, ("mc1",), (row,))) == ""


def test_an_evaluation_that_was_cut_off_took_at_least_what_its_last_process_says():
    facts = {"training_seconds": 50.0, "own_seconds": 20.0, "peak_gpu_memory_bytes": 2**30, "peak_memory_bytes": 0}
    for continued, words in ((False, "70 s, 1.0 GiB"), (True, "at least 70 s, 1.0 GiB")):
        run = SimpleNamespace(manifest=SimpleNamespace(**facts, continued=continued))
        assert describe_cost(ComparedRow("r", (run,), False, (0,), {})) == words


def test_few_questions_may_hide_a_difference_of_any_size_in_nats():
    point = Interval(0.1, 0.3)
    metrics = {
        name: ComparedMetric(0.5, point, None, PairedDifference(0.2, point, least, 0.1, FLIPS), [], 0.3, unit)
        for name, least, unit in (("mc1", 0.052, PERCENT), ("margin", math.inf, NATS))
    }
    said = describe_tests(ComparedSection(FACTS, ("mc1", "margin"), (ComparedRow("r", (), False, (0,), metrics),)))
    assert "Differences under 5.2 points or of any size in nats may go unnoticed" in said
    assert " inf " not in said
