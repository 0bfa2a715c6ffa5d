"""How a plan is sampled, summed and shown."""

from dataclasses import dataclass, field

import pytest

from lofit_cli.planning import sample
from lofit_cli.planning.plan import Part, Plan, Point, mark_done
from lofit_cli.schema.sources import ModelConfig
from lofit_cli.stages import plan


@dataclass
class ModelOnly:
    """The least that a stage's settings have."""

    model: ModelConfig = field(default_factory=lambda: ModelConfig("m"))


def test_points_that_are_done_are_counted_and_not_planned():
    points = mark_done([Point((f"seed={seed}",), seed) for seed in (1, 2, 3)], lambda seed: seed == 2)
    assert [point.is_done for point in points] == [False, True, False]
    found = Plan(5, 10, 1000, 4, (Part("loading", None, 2.0), Part("training", 1000, 60.0)), {"memory": 2 * 10**9})
    to_do = [point for point in points if not point.is_done]
    table = plan._several("lofit x", points, to_do, [found, found])
    assert "3 points, 1 done, 2 to do, about 2 min" in table.title
    assert [row[4] for row in table.rows] == ["62 s", "done", "62 s", "2 min"]
    assert table.rows[-1] == ["in all", "", "20", "2,000", "2 min", "2.00 GB"]


def test_time_is_that_of_a_sample_times_how_much_more_there_is(monkeypatch):
    clock = [0.0]
    sizes = []
    monkeypatch.setattr(sample.time, "perf_counter", lambda: clock[0])

    def work(size):
        sizes.append(size)
        clock[0] += 0.5 * size
        return size / 1000

    assert sample.seconds_for_all(work, 1000, 2) == pytest.approx(500)
    assert sizes == [2, 8]
    assert sample.seconds_for_all(work, 3, 2) == pytest.approx(500), "a sample that can't grow is what there is"


@pytest.mark.parametrize(("load", "is_told"), [(0.5, False), (99.0, True)])
def test_a_busy_machine_is_told_of(load, is_told, monkeypatch, capsys):
    monkeypatch.setattr(plan.os, "getloadavg", lambda: (load, 0, 0))
    found = Plan(1, 0, 10, 0, (Part("loading", None, 1.0),), {"memory": 10**9})
    plan.show_plans("evaluate", [Point((), ModelOnly())], lambda settings: found)
    assert ("this machine is busy (load 99.0" in capsys.readouterr().out) == is_told


def test_a_spread_sample_takes_from_everywhere():
    assert sample.spread(range(100), 4) == [0, 25, 50, 75]
    assert sample.spread("abc", 3) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (5940, "99 min"), (9000, "2.5 h")]
)
def test_times_are_said_as_people_say_them(seconds, words):
    assert plan.in_words(seconds) == words
    assert plan.in_words(None) == "unknown"
