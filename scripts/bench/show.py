"""What was measured, as tables and as a picture."""

import statistics
from pathlib import Path
from typing import Any

from lofit_cli.report.plots import lettering, new_figure, save_figure
from lofit_cli.report.tables import Cell, Column, Entry, Table, left_and_right, show_table, write_markdown

MARKS = {True: "reached", False: "missed", None: ""}
COLOURS = {True: "tab:green", False: "tab:orange", None: "tab:blue"}
Found = dict[str, Any]


def show(found: Found, folder: Path) -> None:
    """Write bench.md and bench.png, and print the tables."""
    tables = [
        _table_of_rows(found),
        _table_of_titles(found["rows"]),
        *([_table_of_memory(found["memory"])] if found["memory"] else []),
    ]
    write_markdown(tables, folder / "bench.md")
    for table in tables:
        show_table(table)
    draw(found["rows"], folder / "bench.png")


def _table_of_rows(found: Found) -> Table:
    columns = [
        Column("row", "left", is_whole=True),
        *map(Column, ("dtype", "ours s", "peer s", "ratio", "goal", "gap")),
    ]
    machine, peaks = found["machine"], found["matmul_gflops"]
    speeds = ", ".join(f"{value:.0f} GFLOP/s in {dtype}" for dtype, value in peaks.items())
    left_out = "".join(f" {row} was left out: {why}." for row, why in found["left_out"].items())
    note = (
        f"{found['settings']['model']} on {found['task']}; {machine['cpu']}, {machine['threads']} threads, torch "
        f"{machine['torch_build']}; matrix products: {speeds}. Ratio: median, least and most of {found['repeats']} runs by "
        f"turns. Gap: the largest between what both sides found.{left_out}"
    )
    return Table("lofit and its peers", columns, [_line(row) for row in found["rows"]], note)


def _line(row: Found) -> list[Entry]:
    sign = "≤" if row["ratio_of"].startswith("ours") else "≥"
    goal = "" if row["goal"] is None else Cell(f"{sign} {row['goal']:g}", MARKS[row["reaches_goal"]])
    gap = "" if row["largest_gap"] is None else f"{row['largest_gap']:.0e}"
    times = (f"{statistics.median(row[f'{side}_seconds']):.2f}" for side in ("ours", "peer"))
    least, most = row["ratio_range"]
    return [row["row"], row["dtype"], *times, Cell(f"{row['ratio']:.2f}", f"({least:.2f} to {most:.2f})"), goal, gap]


def _table_of_titles(rows: list[Found]) -> Table:
    """Return what each row is: once, whatever the dtypes."""
    lines = {row["row"]: [row["row"], row["title"], row["ratio_of"]] for row in rows}
    columns = [Column("row", "left", is_whole=True), Column("what", "left"), Column("ratio", "left")]
    return Table("The rows", columns, list(lines.values()))


def _table_of_memory(measured: list[Found]) -> Table:
    columns = left_and_right("job", "side", "dtype", "weights MB", "above them MB", "expected MB")
    lines = [
        [one["row"], one["side"], one["dtype"]]
        + [f"{one[key] / 1e6:.0f}" for key in ("weight_bytes", "bytes_above_weights", "expected_bytes")]
        for one in measured
    ]
    note = "Peak memory of each side in a process of its own, and what its largest forward pass accounts for."
    return Table("Memory", columns, lines, note)


def draw(rows: list[Found], file: Path) -> None:
    """Draw each row's ratio as a bar with its range, and its goal as a mark."""
    names = [f"{row['row']} {row['dtype']}" for row in rows]
    with lettering(names):
        figure, axes = new_figure(8, 1.5 + 0.3 * len(rows))
        places = range(len(rows))
        ratios = [row["ratio"] for row in rows]
        ends = [[abs(r - row["ratio_range"][i]) for r, row in zip(ratios, rows, strict=True)] for i in (0, 1)]
        axes.barh(places, ratios, xerr=ends, color=[COLOURS[row["reaches_goal"]] for row in rows])
        goals = [(place, row["goal"]) for place, row in zip(places, rows, strict=True) if row["goal"]]
        axes.scatter([goal for _, goal in goals], [place for place, _ in goals], marker="|", s=200, color="black")
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.set(xscale="log", xlabel="ratio (mark: goal; green: reached)", title="lofit and its peers")
        save_figure(figure, file)
