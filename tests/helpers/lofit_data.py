"""Small benchmark files for tests."""

import csv

COLUMNS = ["Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers", "Source"]
SPLIT_SIZES = {"train": 6, "val": 3, "test": 8}


def write_truthfulqa(folder, *, num_questions=SPLIT_SIZES, best=None, incorrect=None, drop_column=None, fold=0):
    """Write a fold's three CSV files in TruthfulQA's columns."""
    for split, count in num_questions.items():
        rows = []
        for i in range(count):
            right = f"The {split} answer number {i} is right; It is number {i}"
            wrong = f"The {split} answer is number {i + 1}; Nobody knows number {i}" if incorrect is None else incorrect
            answer = best or right.split("; ")[0]
            rows.append(["Adversarial", "Numbers", f"Which {split} number follows {i}?", answer, right, wrong, "us"])
        keep = [i for i, column in enumerate(COLUMNS) if column != drop_column]
        with (folder / f"fold_{fold}_{split}_seed_42.csv").open("w", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow([COLUMNS[i] for i in keep])
            writer.writerows([[row[i] for i in keep] for row in rows])
