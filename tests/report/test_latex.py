"""LaTeX prints what stands in the tables."""

from pathlib import Path

import pytest
from synthetic_runs import METHODS, write_run

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.report.escaping import latex_text
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
    assert latex_text(text) == latex


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


def test_rows_of_fewer_folds_say_so_and_are_never_the_best(tmp_path):
    for number, fold, gain in ((0, 0, 0.0), (1, 0, 0.1), (1, 1, 0.1), (3, 1, 0.5)):
        method = METHODS[number]
        write_run(tmp_path / f"{number}{fold}", "clutrr", fold, 1, method, gain=gain, num_questions=200)
    write_run(tmp_path / "other", "mquake", 0, 1, num_questions=20)
    with start_run(tmp_path / "out", "compare", CompareConfig()) as run:
        compare(CompareConfig(runs=[str(tmp_path / "*")], num_resamples=200), run)
    lines = Path(tmp_path, "out/comparison.tex").read_text().splitlines()
    none, full, partial = (
        line for name in ("base model, f", "lofit (27 s", "lofit (27 r") for line in lines if name in line
    )
    assert none.startswith("base model, fold 0 & ")
    assert full.startswith("lofit (27 scale heads), difference on fold 0 only & \\textbf{")
    assert partial.startswith("lofit (27 random heads), fold 1, no fold in common with the baseline & ")
    assert "\\textbf" not in partial
    summary = Path(tmp_path, "out/summary.tex").read_text()
    assert summary.count("$^{+}$") == 2  # base model, random heads
    assert "+: not on all folds" in summary
    assert "+ |" in Path(tmp_path, "out/summary.md").read_text()
