"""Our family stories: the rules hold in a family drawn out in full, and the stories are stable and never repeat."""

from itertools import islice

import pytest

from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.kinship import COMPOSITIONS, FORMS, compose_kinds, write_stories

STEPS = {
    "child": ("down",),
    "parent": ("up",),
    "spouse": ("across",),
    "sibling": ("beside",),
    "grandchild": ("down", "down"),
    "grandparent": ("up", "up"),
    "pibling": ("up", "beside"),
    "nibling": ("beside", "down"),
    "parent-in-law": ("across", "up"),
    "child-in-law": ("down", "across"),
}
"""What each kind means, in steps through a family graph."""


class Family:
    """People as numbers, each couple with three children, each of whom marries somebody with parents and a brother."""

    def __init__(self, generations):
        self.parents, self.spouse, self.num_people = {}, {}, 0
        self._grow(*self._couple(), generations)

    def _born(self, count):
        self.num_people += count
        return range(self.num_people - count, self.num_people)

    def _couple(self):
        first, second = self._born(2)
        self.spouse |= {first: second, second: first}
        return first, second

    def _grow(self, first, second, generations):
        for child in self._born(3) if generations else ():
            self.parents[child] = {first, second}
            partner, brother = self._born(2)
            self.parents[partner] = self.parents[brother] = set(self._couple())
            self.spouse |= {child: partner, partner: child}
            self._grow(child, partner, generations - 1)

    def step(self, way, person):
        parents = self.parents.get(person, set())
        return {
            "up": parents,
            "across": {self.spouse[person]} if person in self.spouse else set(),
            "down": {child for child, both in self.parents.items() if person in both},
            "beside": {child for child, both in self.parents.items() if parents and both == parents} - {person},
        }[way]

    def related(self, kind, person):
        people = {person}
        for way in STEPS[kind]:
            people = {other for one in people for other in self.step(way, one)}
        return people


@pytest.fixture(scope="module")
def family():
    return Family(generations=3)


@pytest.mark.parametrize("rule", COMPOSITIONS.items(), ids=str)
def test_a_rule_holds_for_everybody_whom_it_leads_to(family, rule):
    (first, second), result = rule
    ends = 0
    for person in range(family.num_people):
        between = family.related(first, person)
        reached = {end for one in between for end in family.related(second, one)} - {person}
        assert reached <= family.related(result, person), (person, reached)
        ends += len(reached)
    assert ends


@pytest.mark.parametrize("rule", [("child", "grandparent", "parent"), ("child", "pibling", "sibling")])
def test_the_rules_left_out_lead_to_others_too(family, rule):
    first, second, result = rule
    ends = [
        end in family.related(result, person)
        for person in range(family.num_people)
        for one in family.related(first, person)
        for end in family.related(second, one) - {person}
    ]
    assert any(ends)
    assert not all(ends)


def test_the_rules_give_clutrrs_18_relations():
    assert {word for kind in COMPOSITIONS.values() for word in FORMS[kind]} == {
        word for kind, words in FORMS.items() if kind != "spouse" for word in words
    }
    assert len({word for words in FORMS.values() for word in words}) == 20


@pytest.mark.parametrize("num_hops", [2, 3, 5])
def test_a_story_names_its_people_and_relations_and_its_answer_follows(num_hops):
    kinds = {word: kind for kind, words in FORMS.items() for word in words}
    for story in islice(write_stories(num_hops, seed=1), 300):
        assert len(set(story.names)) == num_hops + 1 == len(story.relations) + 1
        assert all(word in story.text for word in (*story.names, *story.relations))
        assert kinds[story.answer] == compose_kinds(tuple(kinds[word] for word in story.relations))


def _load(**settings):
    return load_task(TaskConfig("kinship", **settings))


def test_splits_are_disjoint_and_the_same_each_time():
    task, again = _load(num_train=300), _load()
    assert [len(task.items(split)) for split in ("train", "validation", "test")] == [300, 100, 300]
    assert task.facts()["dataset_hash"] == again.facts()["dataset_hash"]
    assert task.items("test")[0].id == "test-0"
    texts = [item.text for items in task.splits.values() for item in items]
    assert len(texts) == len(set(texts))
    assert {item.category for item in task.splits["train"]} == {item.accepted[0] for item in task.splits["train"]}


def test_more_training_stories_leave_the_others_as_they_are():
    few, many = _load(), _load(num_train=4000)
    assert len(many.items("train")) == 4000
    assert few.items("test") == many.items("test")
    assert few.splits["train"] == many.splits["train"][:3000]


@pytest.mark.parametrize("change", [{"story_seed": 1}, {"num_hops": 3}])
def test_another_seed_or_length_gives_other_stories(change):
    assert not _load().fingerprints("test") & _load(**change).fingerprints("test")


def test_its_prompt_is_clutrrs():
    item = _load().items("test")[0]
    assert item.text.startswith('Read the following story about a family. "')
    assert item.text.endswith(" 's")
    assert item.answer == "\n" + item.accepted[0]
    assert item.wrong != item.answer
