"""The node's web side: operator console, JSON API and health checks. Reads the index; never changes a study.

It has no login: it binds to the machine itself unless the settings say otherwise.
"""
