"""Files that are whole or absent, locks, URLs and downloads."""
