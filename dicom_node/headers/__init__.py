"""Headers of received instances as typed facts, read by a bounded walk that no input can make explode.

Read ``facts.py`` first: which attributes, and where each object class keeps them. ``part10.py`` opens files and
received data sets, ``file_meta.py`` reads the heads of files, ``elements.py`` finds elements in data sets,
``values.py`` decodes what was found. Knows neither network nor disk layout; a data set never leaves this package as an
object.
"""

from dicom_node.headers.facts import facts_from_data_set, facts_from_start, read_instance_facts
from dicom_node.headers.file_meta import FileMeta, head_length, read_file_meta
from dicom_node.headers.values import is_valid_uid

__all__ = [
    "FileMeta",
    "facts_from_data_set",
    "facts_from_start",
    "head_length",
    "is_valid_uid",
    "read_file_meta",
    "read_instance_facts",
]
