"""What was measured, as tables and as a picture."""

import statistics
from pathlib import Path
from typing import Any

from profiling import KINDS

from lofit_cli.report.plots import lettering, new_figure, save_figure
from lofit_cli.report.tables import Cell, Column, Entry, Table, left_and_right, show_table, write_markdown

COLOURS = {True: "tab:green", False: "tab:orange", None: "tab:blue"}
SHOWN = (*KINDS, "rest")
Found = dict[str, Any]


def show(found: Found, folder: Path) -> None:
    """Write bench.md and bench.png, and print the tables."""
    tables = [*(_table_of_rows(found, dtype) for dtype in found["matmul_gflops"]), _table_of_titles(found["rows"])]
    tables += [_table_of_profiles(found, dtype) for dtype in found["matmul_gflops"]]
    if found["memory"]:
        tables.append(_table_of_memory(found["memory"]))
    write_markdown(tables, folder / "bench.md")
    for table in tables:
        show_table(table)
    draw(found["rows"], folder / "bench.png")


def _table_of_rows(found: Found, dtype: str) -> Table:
    """Return the rows of a dtype."""
    machine, speed = found["machine"], found["matmul_gflops"][dtype]
    left_out = "".join(f" {row} was left out: {why}." for row, why in found["left_out"].items())
    note = (
        f"{found['settings']['model']} on {found['task']}; {machine['cpu']}, {machine['threads']} threads, torch "
        f"{machine['torch_build']}; matrix products: {speed:.0f} GFLOP/s. Ratio: median of {found['repeats']} runs by "
        f"turns. *: the goal is reached. Gap: the largest between what both sides found. Steps: without the "
        "reference. Later: with what an earlier run has kept."
        f"{left_out}{_scaled(found['settings']['peer_share'])}"
    )
    lines = [line for row in found["rows"] if row["dtype"] == dtype for line in _lines(row)]
    columns = left_and_right("row", "ours s", "peer s", "ratio", "range", "goal", "gap")
    return Table(f"lofit and its peers, {dtype}", columns, lines, note)


def _scaled(share: float) -> str:
    return (
        f" Scoring peers did {share:.0%} of the questions, and their times are scaled by tokens." if share < 1 else ""
    )


def _lines(row: Found) -> list[list[Entry]]:
    """Return a row's line, and one of ours without the reference where that is part of it."""
    sign = "≤" if row["ratio_of"].startswith("ours") else "≥"
    goal = "" if row["goal"] is None else Cell(f"{sign} {row['goal']:g}", marks="*" if row["reaches_goal"] else "")
    gap = "" if row["largest_gap"] is None else f"{row['largest_gap']:.0e}"
    peer = statistics.median(row["peer_seconds"])
    ours = statistics.median(row["ours_seconds"])
    lines: list[list[Entry]] = [[row["row"], f"{ours:.2f}", f"{peer:.2f}", *_ratio(row["ratios"]), goal, gap]]
    if steps := row["ratios_without_reference"]:
        alone = statistics.median(parts["steps"] for parts in row["ours_parts"])
        lines.append([f"{row['row']} steps", f"{alone:.2f}", f"{peer:.2f}", *_ratio(steps), "", ""])
    if later := [
        parts["steps"] + parts["later_reference"] for parts in row["ours_parts"] if "later_reference" in parts
    ]:
        ratios = [theirs / mine for theirs, mine in zip(row["peer_seconds"], later, strict=True)]
        mark = "*" if row["goal"] is not None and statistics.median(ratios) >= row["goal"] else ""
        seconds = f"{statistics.median(later):.2f}"
        lines.append([f"{row['row']} later", seconds, f"{peer:.2f}", *_ratio(ratios), Cell("", marks=mark), ""])
    return lines


def _ratio(ratios: list[float]) -> tuple[str, str]:
    return f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}-{max(ratios):.2f}"


def _table_of_titles(rows: list[Found]) -> Table:
    """Return what each row is: once, whatever the dtypes."""
    lines = {row["row"]: [row["row"], row["title"], row["ratio_of"]] for row in rows}
    columns = [Column("row", "left", is_whole=True), Column("what", "left"), Column("ratio", "left")]
    return Table("The rows", columns, list(lines.values()))


def _table_of_profiles(found: Found, dtype: str) -> Table:
    """Return how many operations both sides computed, how fast, and in what kinds of work the time went."""
    peak = found["matmul_gflops"][dtype]
    columns = left_and_right("row", "side", "TFLOP", "needed", "GFLOP/s", "of peak %", *(f"{kind} %" for kind in SHOWN))
    lines = [
        _profile_line(row, side, peak)
        for row in found["rows"]
        for side in ("ours", "peer")
        if row["dtype"] == dtype and f"{side}_profile" in row
    ]
    note = (
        "TFLOP: operations of products and attention as counted, keys behind a mask among them; needed: without which "
        f"the job can't be done. Peak: matrix products, {peak:.0f} GFLOP/s. Then the shares of the time by kind."
    )
    return Table(f"Where the time goes, {dtype}", columns, lines, note)


def _profile_line(row: Found, side: str, peak: float) -> list[Entry]:
    flops, shares = row[f"{side}_profile"]["flops"], row[f"{side}_profile"]["shares"]
    speed = flops / statistics.median(row[f"{side}_seconds"]) / 1e9
    needed = "" if row["needed_flops"] is None else f"{row['needed_flops'] / 1e12:.2f}"
    counted: list[Entry] = [f"{flops / 1e12:.2f}", needed, f"{speed:.0f}", f"{100 * speed / peak:.0f}"]
    return [row["row"], side, *counted, *(f"{100 * shares.get(kind, 0):.0f}" for kind in SHOWN)]


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
    names = [f"{row['row']} {row['dtype']}{' (share)' * row['ratio_of'].startswith('ours')}" for row in rows]
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
        label = "times faster than the peer, or share of the other time (mark: goal; green: reached)"
        axes.set(xscale="log", xlabel=label, title="lofit and its peers")
        axes.xaxis.set_major_formatter("{x:g}")
        save_figure(figure, file)
