"""The stages: plain functions of a config and a run directory, which read and write artifacts."""
