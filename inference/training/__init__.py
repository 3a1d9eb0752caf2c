"""Training, export and evaluation of the served models. Needs the ``training`` extra; what serves never imports it."""
