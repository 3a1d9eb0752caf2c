"""Which series of a study feed which pipeline, and why the others do not.

``rules.py``: the typed rules and their file; ``outline.py``: a series in the words of the rules; ``choice.py``: the
choice.
"""

from dicom_node.routing.choice import Candidate, Routing, choose
from dicom_node.routing.rules import PipelineRules, Rules, load_rules

__all__ = ["Candidate", "PipelineRules", "Routing", "Rules", "choose", "load_rules"]
