"""description.html stands alone, escapes every token, and a browser shows it without a complaint."""

import re
from html.parser import HTMLParser

import pytest
from browsing import CHROMIUM, browse
from nasty_texts import NASTY

from lofit_cli.artifacts.description import (
    Description,
    Descriptions,
    Lens,
    Mining,
    OffsetTokens,
    PatchscopeReading,
    ShiftedToken,
    ShownToken,
    TextFacts,
    TokenShift,
)
from lofit_cli.console import visible
from lofit_cli.report.description.tables import state_finding, summary_table, token_records, tokens_table
from lofit_cli.report.description.write import write_description

SCRIPT = "<script>alert(1)</script>"
TOKENS = [ShownToken(text[:300], number, 0.5 / (1 + number), number % 3 == 0) for number, text in enumerate(NASTY)]
PLAIN = [ShownToken(text, number, 0.1, text == " mother") for number, text in enumerate((" mother", "the", "\n"))]


def shift(tokens=()):
    return TokenShift(4, 0.5, 0.25, 0.25, [0.5, 0.1], [2, 2], list(tokens))


def row(label, kind, tokens, **others):
    made = {
        "shift": shift([ShiftedToken(token.text, token.id, 3, 7.5) for token in tokens]),
        "mining": Mining(10, [ShownToken(token.text, token.id, 8.0, token.in_answers) for token in tokens]),
        "norms": [[0.0] * 5, [0.1] * 5, [0.2] * 5],
        "layer_norms": [0.0, 0.1, 0.2],
        "units": [1.0, 2.0, 3.0],
        "lenses": [Lens(position, tokens, tokens[:2]) for position in (None, 0, 1)],
        "readings": [PatchscopeReading(1.0, 4, tokens[:3]), PatchscopeReading(2.0, 4, tokens[:1])],
        "offsets": [OffsetTokens(1, 2, [token.text for token in tokens[:3]], [0.1] * len(tokens[:3]))],
        "answer_shares": {"lens": 0.5},
    }
    return Description(label, kind, "runs/x", "lofit", "here", 1, **{**made, **others})


def describe(rows, note=""):
    cosines = [[1.0 if a is b else None for b in rows] for a in rows]
    facts = TextFacts("texts.txt", "f" * 64, 20, 4, 300)
    return Descriptions("smollm2", 1, [1, 2, 3, 4], facts, 3, 100, 42, list(rows), cosines, [cosines] * 5, 12, note)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("description")
    rows = [row(f"lofit {SCRIPT}", "run", PLAIN), row("lora", "control", TOKENS), row("random", "null", [])]
    write_description(describe(rows), folder)
    return folder / "description.html"


class Shown(HTMLParser):
    """Collects a page's elements, its links and the texts of its tokens."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.ids, self.tokens, self.inside = [], [], [], [], False

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        self.tags.append(tag)
        self.links += [about[name] for name in ("href", "src") if name in about]
        self.ids += [about["id"]] if "id" in about else []
        if about.get("class") == "token":
            self.inside = True
            self.tokens.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "code"

    def handle_data(self, data):
        if self.inside:
            self.tokens[-1] += data


def test_the_page_needs_nothing_from_outside_and_runs_nothing(page):
    shown = Shown()
    shown.feed(page.read_text(encoding="utf-8"))
    assert not {"script", "iframe", "object", "form"} & {*shown.tags}
    assert all(link.startswith(("#", "data:")) for link in shown.links)
    assert all(link[1:] in shown.ids for link in shown.links if link.startswith("#"))
    assert shown.tags.count("img") == 2
    assert "prefers-color-scheme: dark" in page.read_text(encoding="utf-8")


def test_every_token_is_shown_as_the_text_that_it_is(page):
    shown = Shown()
    shown.feed(page.read_text(encoding="utf-8"))
    for token in (*PLAIN, *TOKENS):
        assert visible(token.text) in shown.tokens, token
    assert SCRIPT not in page.read_text(encoding="utf-8")


def test_tokens_of_the_training_answers_are_marked(page):
    text = page.read_text(encoding="utf-8")
    assert re.search(r'<td class="in-answers"><code class="token"> mother</code>', text)
    assert not re.search(r'<td class="in-answers"><code class="token">the</code>', text)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_it_without_a_complaint(page, tmp_path):
    said, asked = browse(page, tmp_path)
    assert asked == []
    assert "Refused" not in said
    assert "Uncaught" not in said


def test_one_sentence_says_whether_the_run_is_told_from_its_controls():
    many, few, none = ([ShownToken("a", n, 0.1, n < share) for n in range(4)] for share in (3, 1, 0))
    rows = [row("run", "run", many), row("other", "control", none), row("random", "null", few)]
    said = "Of the 4 tokens that the run's difference points at, 3 are over-represented in its training answers"
    assert state_finding(describe(rows)) == f"{said}; of its controls', at most 1."
    assert state_finding(describe(rows[:1])) == f"{said}."
    assert (
        state_finding(describe(rows, "gone"))
        == "Whether its tokens are those of its training answers is not known: gone."
    )
    assert state_finding(describe([row("run", "run", [])])) == "The run changes nothing after layer 1 on these texts."


def test_the_tables_say_the_same():
    found = describe([row("run", "run", PLAIN), row("random", "null", [])])
    cells = [[lines[0].text for lines in cells] for cells in summary_table(found).cells]
    # 4 tokens: 2 at a mean of 0.5 nats and 2 at one of 0.1.
    assert cells[0] == ["run", "0.100", "50.0", "25.0", "0.3000", "1.00", "1 of 3"]
    assert cells[1][-2:] == ["", "0 of 0"]
    assert tokens_table(found).rows[0][1] == "' mother' 'the' '\\n'"
    assert tokens_table(found).rows[1][1:] == ["none", "none"]
    listed = [record for record in token_records(found) if record["list"] == "patchscope"]
    assert [(record["strength"], record["rank"]) for record in listed] == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert found.run.reading.strength == 1
