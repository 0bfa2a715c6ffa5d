"""The largest values of some settings, and how tokens are counted."""

MAX_SEED = 2**32 - 1
MAX_RESAMPLES = 1_000_000
MAX_HOPS = 10
MAX_DRAWS = 1000
FIRST_TOKENS = 5
"""How many first tokens of a text `describe` tells apart; a usual hidden state's length is taken from those after."""

FAR = 8
"""How many tokens from the end of its prompt a token is told apart; further ones are all alike."""
ANSWER = -1
"""What stands for that distance at an answer's tokens."""
