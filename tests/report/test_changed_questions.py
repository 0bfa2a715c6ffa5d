"""The page of changed questions, clicked through in a browser."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browsing import CHROMIUM, click_through
from manifests import write_manifest

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.schema.stages import CompareConfig
from lofit_cli.stages.compare import compare

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")

MARKUP = "<script>see('error', 1)</script><b>bold</b>"
HIDDEN = "a\u202eb\x07"
SCORED = {
    "question_id": [f"q{i}" for i in range(6)],
    "category": ["Law", "Law", "Law", "Health", "Health", "Health"],
    "question": ["Is it legal?", f"What is {MARKUP}?", "Who?", HIDDEN, "Which herb?", "How many?"],
    "answers": [["yes", f"no {i}", MARKUP] for i in range(6)],
    "correct": [[True, False, False]] * 6,
}
MC1 = {"base": [0, 0, 1, 1, 0, 1], "edited": [1, 1, 0, 1, 0, 1]}
MC2 = {"base": [0.1, 0.2, 0.9, 0.7, 0.3, 0.9], "edited": [0.8, 0.7, 0.2, 0.7, 0.4, 0.9005]}
LOG_PROBS = {"base": [-5.0, -1.25, -9.0], "edited": [-0.5, -3.0, -9.0]}


def write(folder, columns, method, **facts):
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "predictions.parquet")
    write_manifest(folder, "evaluate", method=method, **facts)


def report_of(folder):
    with start_run(folder / "out", "compare", CompareConfig()) as run:
        compare(CompareConfig(runs=[str(folder / "runs")], num_resamples=100), run)
    return folder / "out/report.html"


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    for name, method in (("base", "none"), ("edited", "lofit")):
        values = {"mc1": np.array(MC1[name], dtype=float), "mc2": MC2[name], "log_probs": [LOG_PROBS[name]] * 6}
        write(folder / "runs" / name, SCORED | values, method, metrics=["mc1", "mc2"])
    return report_of(folder)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Two folds, and a third run that covers one of them only."""
    folder = tmp_path_factory.mktemp("generated")
    for name, method, folds in (("base", "none", (0, 1)), ("edited", "lofit", (0, 1)), ("other", "lora", (1,))):
        for fold in folds:
            columns = {
                "question_id": [f"{fold}{i}" for i in range(150)],
                "category": [""] * 150,
                "question": [f"Answer in one word. Fold {fold}, question {i}:\nwho?" for i in range(150)],
                "accepted": [["son", "boy"]] * 150,
                "generated": ["uncle" if name == "base" and i else "son" for i in range(150)],
                "em": [float(name != "base" or i == 0) for i in range(150)],
            }
            facts = {"task": "kin", "fold": fold, "questions_hash": str(fold), "metrics": ["em"]}
            write(folder / "runs" / f"{name}{fold}", columns, method, **facts)
    return report_of(folder)


def test_counts_filters_and_sorting_say_what_changed(scored, tmp_path):
    seen = click_through(
        scored,
        tmp_path,
        """
        const shown = () => texts("#question-rows .open");
        const kind = (key) => one(`[data-kind="${key}"]`).click();
        see("kinds", texts("#question-kinds button"));
        see("first", shown());
        for (const key of ["gained", "lost", "unchanged", "all"]) { kind(key); see(key, shown()); }
        choose("#question-category", "Health"); see("health", shown());
        choose("#question-search", "HERB"); see("herb", shown());
        choose("#question-category", ""); choose("#question-search", "no 2"); see("answer", shown());
        choose("#question-search", "nothing like it"); see("none", texts("#question-rows td"));
        choose("#question-search", "");
        one('[data-key="change"]').click(); see("falling", shown());
        see("aria", all("#question-head th").map((head) => head.getAttribute("aria-sort")));
        one('[data-key="change"]').click(); see("rising", shown());
        choose("#question-metric", "1"); kind("changed"); see("mc2", texts("#question-kinds button"));
        see("count", one("#question-count").textContent);
        """,
    )
    who, herb, many = "Who?", "Which herb?", "How many?"
    legal, markup, hidden = "Is it legal?", f"What is {MARKUP}?", r"a\u202eb\x07"
    assert "error" not in seen, seen
    assert seen["kinds"] == ["2 wrong to right", "1 right to wrong", "3 changed at all", "3 unchanged", "6 all"]
    assert seen["first"] == [legal, markup, who]
    assert (seen["gained"], seen["lost"], seen["unchanged"]) == ([legal, markup], [who], [hidden, herb, many])
    assert len(seen["all"]) == 6
    assert seen["health"] == [hidden, herb, many]
    assert (seen["herb"], seen["answer"], seen["none"]) == ([herb], [who], ["No question is like this."])
    assert seen["falling"] == [legal, markup, hidden, herb, many, who]
    assert seen["aria"] == ["none"] * 4 + ["descending", "none"]
    assert seen["rising"] == [who, hidden, herb, many, legal, markup]
    # A tenth more makes nothing right, and less than a thousandth is no change.
    assert seen["mc2"] == ["2 wrong to right", "1 right to wrong", "4 changed at all", "2 unchanged", "6 all"]
    assert seen["count"].startswith("4 of 6 questions")


def test_a_row_opens_the_answers_of_both_runs(scored, tmp_path):
    seen = click_through(
        scored,
        tmp_path,
        """
        one("#question-rows .open").click();
        see("expanded", one("#question-rows .open").getAttribute("aria-expanded"));
        see("controls", one("#question-rows .open").getAttribute("aria-controls") === one("tr.details").id);
        see("rows", all(".answers tbody tr").map((row) => [...row.children].map((cell) => cell.textContent)));
        see("bold", texts(".answers strong"));
        see("metrics", one("tr.details .soft").textContent);
        see("tags", all("#question-rows b, #question-rows script").length);
        all("#question-rows .open")[1].click();
        see("open", all("tr.details").length);
        one("#question-rows .open").click();
        see("left", all("tr.details").length);
        one("#question-swap").click();
        see("swapped", texts("#question-kinds button").slice(0, 2));
        """,
    )
    assert "error" not in seen, seen
    assert (seen["expanded"], seen["controls"], seen["open"], seen["left"]) == ("true", True, 2, 1)
    assert seen["rows"] == [
        ["✓ right", "yes", "-5.000", "-0.500likeliest", "+4.500"],
        ["✗ wrong", "no 0", "-1.250likeliest", "-3.000", "−1.750"],
        ["✗ wrong", MARKUP, "-9.000", "-9.000", "0.000"],
    ]
    assert seen["bold"] == ["-0.500", "-1.250"]
    assert seen["metrics"] == "MC1 0 → 1 · MC2 0.1 → 0.8 · fold 0 · q0"
    assert seen["tags"] == 0
    assert seen["swapped"] == ["1 wrong to right", "2 right to wrong"]


def test_texts_stand_side_by_side_and_pairs_share_their_folds(generated, tmp_path):
    seen = click_through(
        generated,
        tmp_path,
        """
        see("runs", texts("#question-a option"));
        see("pair", [one("#question-a").value, one("#question-b").value]);
        see("kinds", texts("#question-kinds button"));
        see("rows", all(".open").length);
        see("more", one("#question-more").textContent);
        one("#question-more").click();
        see("rows after", all(".open").length);
        see("no more", one("#question-more").hidden);
        one(".open").click();
        see("sides", texts(".side"));
        see("accepted", texts(".accepted li"));
        see("asked", one(".asked").textContent);
        see("row", one(".open").textContent);
        choose("#question-a", "2");
        see("count", one("#question-count").textContent);
        choose("#question-search", "UNCLE");
        see("uncles", one("#question-count").textContent);
        """,
    )
    assert "error" not in seen, seen
    # Of two as good, the one that shares more questions is shown first.
    assert seen["pair"] == ["0", "1"]
    assert seen["runs"] == ["base model (folds 0, 1)", "lofit (folds 0, 1)", "lora (fold 1)"]
    assert seen["kinds"] == ["298 wrong to right", "0 right to wrong", "298 changed at all", "2 unchanged", "300 all"]
    assert (seen["rows"], seen["more"]) == (200, "Show 98 more of 98")
    assert (seen["rows after"], seen["no more"]) == (298, True)
    assert seen["sides"] == ["A: base modelEM 0uncle", "B: lofitEM 1son"]
    assert (seen["accepted"], seen["asked"]) == (["son", "boy"], "Answer in one word. Fold 0, question 1:\nwho?")
    # What all questions begin with stands in no row.
    assert seen["row"] == "…Fold 0, question 1:\nwho?"
    assert seen["count"].startswith("0 of 150 questions")
    assert seen["uncles"].startswith("0 of 150")


def test_a_metric_without_right_and_wrong_only_gains_or_loses(tmp_path, monkeypatch):
    monkeypatch.setattr("lofit_cli.report.comparison.embedding.right_above", {"mc1": 0.5, "mc2": None}.get)
    for name, method in (("base", "none"), ("edited", "lofit")):
        values = {"mc1": np.array(MC1[name], dtype=float), "mc2": MC2[name], "log_probs": [LOG_PROBS[name]] * 6}
        write(tmp_path / "runs" / name, SCORED | values, method, metrics=["mc1", "mc2"])
    seen = click_through(
        report_of(tmp_path),
        tmp_path,
        """
        one('[data-kind="gained"]').click();
        choose("#question-metric", "1");
        see("kinds", texts("#question-kinds button"));
        see("outcomes", texts(".verdict"));
        """,
    )
    assert seen == {"kinds": ["4 changed at all", "2 unchanged", "6 all"], "outcomes": ["more", "less", "more", "more"]}


def test_a_run_alone_is_shown_beside_itself(tmp_path):
    values = {"mc1": np.array(MC1["base"], dtype=float), "log_probs": [LOG_PROBS["base"]] * 6}
    write(tmp_path / "runs/base", SCORED | values, "none", metrics=["mc1"])
    seen = click_through(report_of(tmp_path), tmp_path, 'see("count", one("#question-count").textContent);')
    assert seen == {"count": "6 of 6 questions, the clearest changes first"}


def test_links_show_one_view_at_a_time(scored, tmp_path):
    script = """
        const views = () => all(".view").filter((view) => !view.hidden).map((view) => view.id);
        const wait = () => new Promise((resolve) => setTimeout(resolve, 100));
        see("first", views());
        for (const link of all("nav.views a")) {
            link.click(); await wait(); see(link.textContent, views());
        }
        location.hash = "#statistics"; await wait(); see("inner", views());
        see("current", texts("nav.views [aria-current]"));
        """
    seen = click_through(scored, tmp_path, script, "#questions")
    assert "error" not in seen, seen
    assert (seen["first"], seen["Results"], seen["Changed questions"]) == (["questions"], ["results"], ["questions"])
    assert (seen["inner"], seen["current"]) == (["results"], ["Results"])


def test_no_view_is_wider_than_a_narrow_window(tmp_path):
    word = "unbroken" * 40
    for name, method in (("base", "none"), ("edited", word)):
        columns = {key: [word] * 6 for key in ("question_id", "category", "question", "generated")}
        columns |= {"accepted": [[word]] * 6, "em": [float(name == "edited")] * 6}
        write(tmp_path / "runs" / name, columns, method, metrics=["em"], intervention=None if name == "base" else word)
    seen = click_through(
        report_of(tmp_path),
        tmp_path,
        """
        all(".open").forEach((button) => button.click());
        see("rows", all("tr.details").length);
        for (const view of all(".view")) {
            showView("#" + view.id);
            see(view.id, document.documentElement.scrollWidth - innerWidth);
        }
        """,
        width=500,
    )
    assert seen.pop("rows") == 6
    assert seen.keys() == {"results", "questions", "interventions"}
    assert max(seen.values()) <= 0, seen
