"""The groups of the suite: each module has TRIALS, and its metrics with them."""
