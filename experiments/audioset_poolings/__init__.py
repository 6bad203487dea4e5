"""Poolings on AudioSet's released features: plan, search, runs, measures, comparisons and the pages that report them."""
