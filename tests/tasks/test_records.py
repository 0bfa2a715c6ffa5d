"""Files of JSON objects, whatever characters their texts hold."""

import json

import pytest

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.records import read_records


def test_lines_end_at_line_feeds_only(tmp_path):
    rows = [{"text": "one\u2028line\u0085still"}, {"text": "two"}]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    assert read_records(file) == rows


@pytest.mark.parametrize("change", [{"requested_rewrite": []}, {"questions": []}, {"new_answer_alias": 3}])
def test_a_field_of_another_type_is_one_sentence(tmp_path, change):
    case = {
        "case_id": 1,
        "requested_rewrite": [{"prompt": "{} is in", "subject": "Paris", "target_new": {"str": "Spain"}}],
        "questions": ["Where is Paris?"],
        "answer": "France",
        "new_answer": "Spain",
        "new_answer_alias": [],
        "new_single_hops": [{}, {}],
    }
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({**case, **change}))
    with pytest.raises(UserError, match="files of task 'mquake' are not in its form"):
        load_task(TaskConfig("mquake", data_dir=str(tmp_path)))
