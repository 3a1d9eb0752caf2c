"""Sends the CT studies of an Orthanc to dicom-node, each image once, and marks what became of them.

A program of its own inside Orthanc's Python plugin: standard library only, knows nothing of the node's code, and
nothing here imports ``orthanc`` (that is ``route_to_node.py`` alone). From the inside out: ``study`` (what is in a
study, and what follows from it), ``reports`` (reading the node's answer), ``settings``, ``archive`` (Orthanc's REST
API), ``ledger`` (what has to survive a restart), ``patience`` (pauses after failures), ``router`` (the loop).
"""
