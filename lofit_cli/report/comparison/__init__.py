"""What a comparison looks like: its words, tables, figures and HTML report."""
