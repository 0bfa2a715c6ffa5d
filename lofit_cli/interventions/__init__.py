"""Edits of a frozen model, as values that can be attached in a `with` block."""
