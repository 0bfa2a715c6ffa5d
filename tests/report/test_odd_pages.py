"""A report of one category, and addresses that end in what is no name of a part."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browsing import CHROMIUM, click_through
from manifests import write_manifest

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.schema.stages import CompareConfig
from lofit_cli.stages.compare import compare

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    for name, method in (("base", "none"), ("edited", "lofit")):
        asked = {"question_id": ["p", "q"], "category": ["Law"] * 2, "question": ["Is it legal?", "Who?"]}
        said = {"accepted": [["yes"]] * 2, "generated": [name] * 2, "em": [float(name == "edited"), 0.0]}
        (folder / "runs" / name).mkdir(parents=True)
        pq.write_table(pa.table(asked | said), folder / "runs" / name / "predictions.parquet")
        write_manifest(folder / "runs" / name, "evaluate", method=method, metrics=["em"])
    with start_run(folder / "out", "compare", CompareConfig()) as run:
        compare(CompareConfig(runs=[str(folder / "runs")], num_resamples=100), run)
    return folder / "out/report.html"


@pytest.mark.parametrize("anchor", ["#%", "#50%", "#%E0%A4%A", "#nowhere", "#"])
def test_an_address_that_names_no_part_shows_the_first_and_the_questions_work(page, tmp_path, anchor):
    script = """
        see("shown", all(".view").map((view) => !view.hidden));
        see("category", texts("#question-category option"));
        see("count", one("#question-count").textContent);
    """
    seen = click_through(page, tmp_path, script, anchor)
    assert "error" not in seen, seen
    assert seen["shown"] == [True] + [False] * (len(seen["shown"]) - 1)
    assert seen["category"] == ["the only category", "Law"]
    assert seen["count"].startswith("1 of 2 questions")
