"""Where models run. A seam: ``base.py`` has the protocol, every other file one implementation."""
