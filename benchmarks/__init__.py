"""What ``make bench`` runs: figures as ratios of two measurements of the same run, never absolute promises.

``geometry`` is what ``make geometry`` runs: no figures, a proof.
"""
