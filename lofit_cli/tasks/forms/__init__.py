"""The forms that benchmarks come in: what is asked, what an answer is worth."""
