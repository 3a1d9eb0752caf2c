"""The model side of the node: arrays, geometry, networks, findings.

Knows nothing of DICOM encoding or of networks between machines: pydicom, pynetdicom and highdicom are
never imported here (import contract in ``pyproject.toml``). Space is DICOM's patient space, LPS in mm.
"""
