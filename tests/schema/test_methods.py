"""Settings that a method would ignore, and lists that say something twice, are refused by name."""

import pytest

from lofit_cli.errors import UserError
from lofit_cli.schema.methods import METHOD_CONFIGS

IGNORED = [
    ("icl", {"text": "urial.txt", "num_examples": 3}, "method.num_examples=3 is not used with method.text"),
    ("prompt", {"num_shifted": 9}, "method.num_shifted=9 is not used with method.rank=0"),
    ("prompt", {"low_rank_rate": 0.5}, "method.low_rank_rate=0.5 is not used with method.rank=0"),
    ("lofit", {"alpha": 4.0}, "method.alpha=4.0 is not used with method.init=random, but with method.init=iti"),
    ("lofit", {"init": "runs/x", "alpha": 4.0}, "method.alpha=4.0 is not used with method.init=runs/x"),
    ("repe", {"positive": "Be nice."}, "method.positive=Be nice. is not used with method.vector=reading"),
    ("repe", {"negative": "Be bad."}, "method.negative=Be bad. is not used with method.vector=reading"),
    (
        "sink",
        {"alphas": [2.0], "choose_by": "entropy"},
        "method.choose_by=entropy is not used with method.alphas=[2.0]",
    ),
]
USED = [
    ("icl", {"text": "urial.txt"}),
    ("icl", {"num_examples": 3}),
    ("prompt", {"rank": 2, "num_shifted": 9, "low_rank_rate": 0.5}),
    ("lofit", {"init": "iti", "alpha": 4.0}),
    ("lofit", {"init": "runs/x"}),
    ("repe", {"vector": "contrast", "positive": "Be nice.", "negative": "Be bad."}),
    ("sink", {"choose_by": "entropy"}),
]
TWICE = [
    ("dola", {"halves": ["lower", "lower"]}, "method.halves=['lower', 'lower'] is not allowed; give each once"),
    ("sadi", {"alphas": [2.0, 3.0, 2.0]}, "method.alphas=[2.0, 3.0, 2.0] is not allowed; give each once"),
    ("caa", {"layers": [1, 1]}, "method.layers=[1, 1] is not allowed; give each once"),
    ("sea", {"num_layers": [2, 2]}, "method.num_layers=[2, 2] is not allowed; give each once"),
]


def said_of(name, settings):
    with pytest.raises(UserError) as refusal:
        METHOD_CONFIGS[name](name, **settings)
    return str(refusal.value)


@pytest.mark.parametrize(("name", "settings", "words"), [*IGNORED, *TWICE])
def test_what_would_change_nothing_is_refused(name, settings, words):
    assert words in said_of(name, settings)


@pytest.mark.parametrize(("name", "settings"), USED)
def test_what_is_used_is_taken(name, settings):
    assert METHOD_CONFIGS[name](name, **settings).name == name


def test_seas_share_is_above_zero():
    assert said_of("sea", {"share": 0.0}) == "method.share=0.0 is not allowed; it must be a number above 0, up to 1"
    assert "up to 1" in said_of("sea", {"share": 1.5})
    METHOD_CONFIGS["sea"]("sea", share=1.0)
