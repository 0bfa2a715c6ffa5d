"""Family stories of our own in CLUTRR's form (Sinha et al. 2019): bundled rules and names, drawn without end."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.clutrr import PROMPT
from lofit_cli.tasks.forms.generation import GenerationTask, OpenItem

FORMS = {
    "child": ("daughter", "son"),
    "child-in-law": ("daughter-in-law", "son-in-law"),
    "grandchild": ("granddaughter", "grandson"),
    "grandparent": ("grandmother", "grandfather"),
    "nibling": ("niece", "nephew"),
    "parent": ("mother", "father"),
    "parent-in-law": ("mother-in-law", "father-in-law"),
    "pibling": ("aunt", "uncle"),
    "sibling": ("sister", "brother"),
    "spouse": ("wife", "husband"),
}
"""A kind of relation -> its word for a woman and for a man. All but `spouse` are answers: CLUTRR's 18 relations."""

COMPOSITIONS = {
    ("child", "child"): "grandchild",
    ("child", "sibling"): "child",
    ("child", "spouse"): "child-in-law",
    ("grandchild", "sibling"): "grandchild",
    ("parent", "child"): "sibling",
    ("parent", "parent"): "grandparent",
    ("parent", "sibling"): "pibling",
    ("sibling", "child"): "nibling",
    ("sibling", "grandparent"): "grandparent",
    ("sibling", "parent"): "parent",
    ("sibling", "sibling"): "sibling",
    ("spouse", "child"): "child",
    ("spouse", "grandchild"): "grandchild",
    ("spouse", "parent"): "parent-in-law",
}
"""Kinds of B to A and of C to B -> that of C to A, three people, brothers and sisters sharing both parents.

CLUTRR's other two rules (a child's grandparent is a parent, a child's aunt a sister) also fit the spouse's family, so
that a story has two answers; they are left out.
"""

UP, DOWN = {"parent", "grandparent"}, {"child", "grandchild"}

NAMES = (
    "Ada Agnes Alice Amira Anna Bella Carla Celia Chloe Clara Daisy Edith Elena Emma Fatima Flora Freya Gwen Hanna "
    "Helen Ines Irene Iris Julia Kate Laila Lena Lucy Maria Mei Nadia Nina Nora Olga Paula Rosa Ruth Sofia Tara Vera",
    "Aaron Adam Ahmed Albert Andre Boris Bruno Carl Cyril Daniel David Diego Edgar Emil Felix Frank George Gustav "
    "Hans Hugo Igor Ivan Jacob James Karim Klaus Leo Louis Marco Martin Nils Omar Oscar Paul Peter Rafael Samuel "
    "Tariq Victor Walter",
)
"""Names of women and of men."""

SENTENCES = (
    "{first} took {their} {relation} {second} to the market.",
    "{first} and {their} {relation} {second} painted the kitchen together.",
    "{first} wrote a long letter to {second}, {their} {relation}.",
    "{second}, who is the {relation} of {first}, came to dinner on Sunday.",
    "{first} borrowed a bicycle from {their} {relation}, {second}.",
    "{first}'s {relation} {second} has a garden by the river.",
    "On the train {first} told {their} {relation} {second} an old joke.",
    "{first} baked a plum cake for {second}, {their} {relation}.",
    "{second} taught chess to {first}, whose {relation} {they_second} is.",
    "{first} showed {their} {relation} {second} the photographs from the summer.",
)

SIZES = {"test": 300, "validation": 100, "train": 3000}
"""Stories of each split; more training stories are written where `task.num_train` asks for more."""


@dataclass(frozen=True)
class Story:
    """A chain of people, each with the relation to the one before, told in one sentence a link.

    Attributes:
        names: one more than there are relations; the first and the last are asked about.
        relations: the word for each next person, as the one before would call them.
        answer: the word for the last person, as the first would call them.
    """

    names: tuple[str, ...]
    relations: tuple[str, ...]
    answer: str
    text: str


def load_kinship(config: TaskConfig) -> GenerationTask:
    """Return stories of `task.num_hops` relations; no two of them, in any splits, have the same people and relations.

    The stories depend on `task.story_seed` and `task.num_hops` only.
    """
    if config.data_dir or config.hub_id:
        raise UserError("task.data_dir and task.hub_id are not used by task 'kinship', which writes its own stories")
    sizes = {**SIZES, "train": max(SIZES["train"], config.num_train or 0)}
    stories = write_stories(config.num_hops, config.story_seed)
    items = {split: [_item(next(stories), f"{split}-{i}") for i in range(size)] for split, size in sizes.items()}
    return GenerationTask(config, items)


def write_stories(num_hops: int, seed: int) -> Iterator[Story]:
    """Yield stories without end, none twice."""
    draw = random.Random(f"kinship {num_hops} {seed}")
    seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    while True:
        story = _write_story(_draw_kinds(num_hops, draw), draw)
        if (story.names, story.relations) not in seen:
            seen.add((story.names, story.relations))
            yield story


def compose_kinds(kinds: tuple[str, ...]) -> str | None:
    """Return what the last person of a chain is to the first; None where no rule says so."""
    so_far: str | None = kinds[0]
    for kind in kinds[1:]:
        so_far = COMPOSITIONS.get((so_far, kind)) if so_far else None
    return so_far


def _draw_kinds(num_hops: int, draw: random.Random) -> tuple[str, ...]:
    """Return a chain of kinds that composes, beginning with any of the rules and going on wherever a rule does.

    A chain that has gone down the generations does not go up again, lest it name somebody's mother twice.
    """
    while True:
        kinds: tuple[str, ...] = draw.choice(sorted(COMPOSITIONS))
        while len(kinds) < num_hops:
            so_far = compose_kinds(kinds)
            following = {kind for first, kind in COMPOSITIONS if first == so_far}
            following -= UP if DOWN & set(kinds) else set()
            if not following:
                break
            kinds = (*kinds, draw.choice(sorted(following)))
        if len(kinds) == num_hops:
            return kinds


def _write_story(kinds: tuple[str, ...], draw: random.Random) -> Story:
    genders, names = _draw_people(kinds, draw)
    relations = tuple(FORMS[kind][gender] for kind, gender in zip(kinds, genders[1:], strict=True))
    links = list(zip(names, names[1:], relations, genders, genders[1:], strict=False))
    draw.shuffle(links)
    templates = draw.sample(SENTENCES, len(links))
    text = " ".join(_sentence(template, *link) for template, link in zip(templates, links, strict=True))
    return Story(tuple(names), relations, FORMS[compose_kinds(kinds) or ""][genders[-1]], text)


def _draw_people(kinds: tuple[str, ...], draw: random.Random) -> tuple[list[int], list[str]]:
    """Return genders (0: a woman, 1: a man) and names, no name twice, of the people of a chain."""
    genders = [draw.randrange(2)]
    for kind in kinds:
        genders.append(1 - genders[-1] if kind == "spouse" else draw.randrange(2))
    names: list[str] = []
    for gender in genders:
        names.append(draw.choice([name for name in NAMES[gender].split() if name not in names]))
    return genders, names


def _sentence(template: str, first: str, second: str, relation: str, gender: int, second_gender: int) -> str:
    return template.format(
        first=first,
        second=second,
        relation=relation,
        their=("her", "his")[gender],
        they_second=("she", "he")[second_gender],
    )


def _item(story: Story, item_id: str) -> OpenItem:
    """Return a story as a question, with another of the 18 relations as the wrong answer."""
    prompt = PROMPT.format(story=story.text, first=story.names[0], second=story.names[-1])
    answers = sorted(word for kind, words in FORMS.items() if kind != "spouse" for word in words)
    wrong = random.Random(item_id).choice([word for word in answers if word != story.answer])
    return OpenItem(item_id, story.answer, prompt, f"\n{story.answer}", (story.answer,), f"\n{wrong}")
