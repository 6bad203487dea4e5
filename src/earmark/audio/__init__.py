"""Audio files of any format and length: opened, decoded, resampled."""
