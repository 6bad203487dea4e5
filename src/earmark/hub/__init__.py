"""Models by name or path: in the package, published by others, or the user's own files."""

from earmark.hub.loading import (
    DEFAULT_MODEL,
    EngineName,
    choose_engine,
    find_checkpoint,
    load,
    load_network,
    load_stages,
)

__all__ = ["DEFAULT_MODEL", "EngineName", "choose_engine", "find_checkpoint", "load", "load_network", "load_stages"]
