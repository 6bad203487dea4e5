"""Poolings on AudioSet's released features: plan, search, runs, measures, comparisons and pages."""
