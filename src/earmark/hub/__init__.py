"""Models by name or path: shipped with the package, published by others, or files of one's own."""

from earmark.hub.loading import DEFAULT_MODEL, find_checkpoint, load, load_network

__all__ = ["DEFAULT_MODEL", "find_checkpoint", "load", "load_network"]
