"""The dataclasses behind conf/: every key a user can set, its type and what it may hold.

`__post_init__` runs when a composed config becomes its dataclass, so a wrong value is refused before any work starts.
"""
