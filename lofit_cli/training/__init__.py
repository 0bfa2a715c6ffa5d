"""The training loop, its objective, and measuring a split."""
