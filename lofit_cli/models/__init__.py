"""Any decoder: loading it, finding its heads, and the log-probability of answers under it."""

import logging

for _name in ("accelerate", "bitsandbytes", "torch.utils._pytree", "torchao"):
    # Where they are installed, transformers imports them for every model, and they tell of kernels that nobody needs.
    # What accelerate tells of weights that are out of memory, `load` says in a sentence.
    logging.getLogger(_name).setLevel(logging.ERROR)
