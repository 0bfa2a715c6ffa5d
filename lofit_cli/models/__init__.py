"""Any decoder: loading it, finding its heads, and the log-probability of answers under it."""
