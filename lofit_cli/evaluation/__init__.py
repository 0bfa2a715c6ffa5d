"""What a model makes of a split: predictions, verdicts of judges, activations at right and wrong answers."""
