"""Table 1 of the paper on soundscapes: plan, soundscapes, runs, statistics and the pages that report them."""
