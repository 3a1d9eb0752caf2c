"""The durable spine: what happens next, and again after a crash.

``durable`` is the only module that knows the workflow engine; ``completeness``, ``process``, ``deliver`` and
``reconcile`` decide nothing themselves: they ask the pure rooms and note the answers in the index.
``analysis`` is one study from instances to results, also used without a network by ``dicom-node infer``.
"""
