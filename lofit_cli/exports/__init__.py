"""Leaving the lab: an intervention as weights, an adapter or a file of vectors that others load, and its proof."""
