"""LaTeX prints what stands in the tables."""

from pathlib import Path

import pytest
from synthetic_runs import METHODS, write_run

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.report.latex import escape_latex
from lofit_cli.schema.stages import CompareConfig
from lofit_cli.stages.compare import compare


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("trainer.l1=5e-4 & 100%", r"trainer.l1=5e-4 \& 100\%"),
        (r"a_b{c}#$\d", r"a\_b\{c\}\#\$\textbackslash{}d"),
        ("~^<|>", r"\textasciitilde{}\textasciicircum{}\textless{}\textbar{}\textgreater{}"),
    ],
)
def test_special_characters(text, latex):
    assert escape_latex(text) == latex


def test_the_best_is_bold_and_a_significant_difference_starred(tmp_path):
    for number, gain in ((0, 0.0), (1, 0.3)):
        write_run(tmp_path / f"{number}", "clutrr", 0, 1, METHODS[number], gain=gain, num_questions=200, model="a_b")
    with start_run(tmp_path / "out", "compare", CompareConfig()) as run:
        compare(CompareConfig(runs=[str(tmp_path / "?")], num_resamples=200), run)
    none, lofit = (
        line
        for line in Path(tmp_path, "out/comparison.tex").read_text().splitlines()
        if " & " in line[:40] and line[0] != " "
    )
    assert "\\textbf" not in none
    assert none.endswith("& baseline \\\\")
    assert lofit.startswith("lofit (27 scale heads) & \\textbf{")
    assert "^{*}$ {[" in lofit
    source = Path(tmp_path, "out/comparison.tex").read_text()
    assert "a\\_b" in source
    assert source.count("{") == source.count("}")
    assert all(rule in source for rule in ("\\toprule", "\\midrule", "\\bottomrule"))
