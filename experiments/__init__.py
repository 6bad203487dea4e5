"""The evidence of the paper, made again on recordings that one can have: one file an artefact."""
