"""CrowS-Pairs (Nangia et al. 2020, arXiv 2010.00133): pairs of sentences that differ in whom they are about."""

from pathlib import Path

from lofit_cli.schema.sources import TaskConfig
from lofit_cli.schema.tasks import SharedOutConfig, settings_of
from lofit_cli.tasks.csv_records import read_csv
from lofit_cli.tasks.forms.preference import PreferenceItem
from lofit_cli.tasks.forms.stereotypes import SentencePair, SentencePairsTask
from lofit_cli.tasks.own_splits import fill_splits
from lofit_cli.tasks.records import Record, load_hub_records
from lofit_cli.tasks.same_text import same_text

FILE = "crows_pairs_anonymized.csv"
COLUMNS = ("sent_more", "sent_less", "bias_type")
BIAS_TYPES = (
    *("race-color", "socioeconomic", "gender", "disability", "nationality"),
    *("sexual-orientation", "physical-appearance", "religion", "age"),
)
"""In the order of the Hub's classes, which it writes as numbers."""


def load_crows_pairs(config: TaskConfig) -> SentencePairsTask:
    """Return CrowS-Pairs, which has one set only, split by the pairs' text: from `task.data_dir`, else from the Hub."""
    config = settings_of(config, SharedOutConfig)
    if config.data_dir:
        records = read_csv(Path(config.data_dir) / FILE, COLUMNS)
    else:
        records = load_hub_records(config.hub_id or "nyu-mll/crows_pairs", None, "test")
    pairs: list[PreferenceItem] = [_pair(record, f"crows-pairs-{i}") for i, record in enumerate(records)]
    # A pair and the same pair the other way round go to one split.
    texts = [min(same_text(pair.chosen), same_text(pair.rejected)) for pair in pairs]
    return SentencePairsTask(config, fill_splits({"train": pairs}, texts, config.shares))


def _pair(record: Record, item_id: str) -> SentencePair:
    more, less = (record.text(name).strip() for name in COLUMNS[:2])
    if same_text(more) == same_text(less):
        raise record.refusal("sent_less", less, "another sentence than sent_more")
    category = record.one_of("bias_type", BIAS_TYPES)
    return SentencePair(item_id, category, f"{more} / {less}", chosen=less, rejected=more)
