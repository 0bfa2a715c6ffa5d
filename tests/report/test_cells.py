"""Names and words of a comparison."""

import pytest

from lofit_cli.analysis.comparison import ComparedSection
from lofit_cli.report.comparison.words import name_sections

FACTS = {"model": "hub/llama", "dtype": "float32", "task": "truthfulqa", "split": "test", "protocol": "iti"}


@pytest.mark.parametrize(
    ("others", "names"),
    [
        ([], ["truthfulqa"]),
        ([{"task": "clutrr"}], ["truthfulqa", "clutrr"]),
        ([{"protocol": "lm_eval"}], ["truthfulqa-iti", "truthfulqa-lm_eval"]),
        ([{"model": "/a/qwen"}], ["truthfulqa-llama", "truthfulqa-qwen"]),
        ([{"model": "other/llama"}], ["truthfulqa-llama", "truthfulqa-llama-2"]),
        (
            [{"dtype": "bfloat16"}, {"protocol": "lm_eval"}],
            ["truthfulqa-iti-float32", "truthfulqa-iti-bfloat16", "truthfulqa-lm_eval"],
        ),
    ],
)
def test_sections_have_short_names_of_their_own(others, names):
    sections = [ComparedSection(FACTS | other, ("mc1",), ()) for other in [{}, *others]]
    assert name_sections(sections) == names
