"""A page and an HTTP interface for taggers."""
