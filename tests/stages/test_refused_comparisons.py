"""What can't be compared is refused in one plain sentence."""

from pathlib import Path

from lofit_data import write_truthfulqa
from refusals import SELECT, refused
from synthetic_runs import write_run


def test_one_question_is_too_few_to_compare(lofit):
    write_truthfulqa(Path("data"), num_questions={"test": 1})
    assert lofit("evaluate", "intervention=none", "hydra.run.dir=runs/a").exit_code == 0
    refused(lofit("compare", "runs=[runs/a]"), "scored fewer than 2 questions")


def test_runs_that_scored_other_questions_are_not_paired(lofit):
    assert lofit("evaluate", "intervention=none", "hydra.run.dir=runs/a").exit_code == 0
    write_truthfulqa(Path("data"), num_questions={"test": 5})
    assert lofit("evaluate", "intervention=none", "hydra.run.dir=runs/b").exit_code == 0
    words = "runs/b and runs/a cannot be paired: both are fold 0 of truthfulqa and their questions_hash differs"
    refused(lofit("compare", "runs=[runs/a,runs/b]"), words)


def test_grouping_by_what_no_run_states(lofit):
    write_run(Path("runs/a"), "clutrr", 0, 1, ("lofit", "scale", 8, {"trainer.learning_rate": 0.01}))
    refused(
        lofit("compare", "runs=[runs/a]", "group_by=[metod]"), "group_by: metod is not known; did you mean 'method'?"
    )
    refused(
        lofit("compare", "runs=[runs/a]", "group_by=[x]"),
        "num_train, num_trained_parameters, questions_hash, seed, selector, train",
    )


def test_runs_without_a_metric_in_common(lofit):
    write_run(Path("runs/a"), "clutrr", 0, 1)
    write_run(Path("runs/b"), "clutrr", 1, 1, metrics=[])
    refused(lofit("compare", "runs=[runs/*]"), "runs of clutrr have no metric in common")


def test_compare_takes_evaluate_runs_only(lofit):
    assert lofit(*SELECT, "selector=random", "hydra.run.dir=runs/heads").exit_code == 0
    refused(lofit("compare", "runs=[runs/heads]"), "holds a run of select_heads; name one of evaluate")


def test_baseline_that_is_not_compared(lofit):
    assert lofit("evaluate", "intervention=none", "hydra.run.dir=runs/a").exit_code == 0
    refused(lofit("compare", "runs=[runs/a]", "baseline=runs/b"), "is not one of the runs compared")
