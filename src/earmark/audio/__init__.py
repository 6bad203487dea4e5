"""Audio files of any format and length: opening, decoding, resampling."""
