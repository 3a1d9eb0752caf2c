"""What ``make geometry`` proves: a voxel that the node marks lies where it was marked, in any geometry it takes.

One phantom with known voxels is cut into studies of every geometry (``grids``), painted so that the Hounsfield
units alone tell the truth (``phantom``), written as DICOM (``studies``) and sent by C-STORE through a real node whose
networks are replaced by the rule that reads the paint (``exact_node``). What an archive then gets is read without
any code of the node (``second_opinions``) and held against the truth (``proof``); ``table`` writes it down.
"""
