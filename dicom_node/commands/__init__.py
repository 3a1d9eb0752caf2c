"""The commands of ``dicom-node``, a thin file each; ``__main__`` mounts them. They parse, call and print."""
