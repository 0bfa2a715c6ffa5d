"""A description of edits as a page, figures and tables."""
