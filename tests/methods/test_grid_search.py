"""What is chosen on validation is measured on the validation items as the task gives them."""

from dataclasses import replace

from making import make_config, make_task
from tiny_models import build_language_model, edit_all_heads, random_values

from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.methods.grid_search import MAX_ITEMS, Candidate, keep_best
from lofit_cli.tasks.forms.truthfulqa import Question


def test_swapped_validation_questions_are_swapped_once(tmp_path):
    items = [Question(str(i), "", f"Which {i}?", "a", ("a",), ("b",)) for i in range(MAX_ITEMS + 2)]
    task = replace(make_task(), splits={"validation": items})
    task = replace(task, config=replace(task.config, swap_questions=["validation"]))
    lm, seen = build_language_model("llama"), []

    def measure(lm, few, split, protocol):
        seen.append(few.items(split))
        return {"mc1": 0.5}

    edit = edit_all_heads(random_values(lm.geometry, 1))
    config = make_config("iti", tmp_path)
    with start_run(tmp_path / "run", "train_offsets", config) as run:
        keep_best(lm, task, config, {Candidate(1.0): edit, Candidate(2.0): edit}, run, measure)
    assert seen == [task.items("validation")[:MAX_ITEMS]] * 2
    assert all(asked.text != item.text for asked, item in zip(seen[0], items, strict=False))
