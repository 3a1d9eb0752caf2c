"""Torch modules, one architecture a file. Pure networks: no windows, no thresholds, no files."""
