"""The PACS side of the node: everything that knows DICOM and nothing that knows a neural network.

Data flows one way, a package a stage: association, spool and index, assembly, routing, volumes,
(inference,) results, delivery; ``flow`` is the durable spine that calls them.
"""
