"""Slices left out and put back lie where they were, to half of what was left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.pipelines.working_grid import spread, thinned
from inference.volume import Volume


def volume(slices: int, *, spacing_z_mm: float = 1.0) -> Volume:
    """The slice's number in every voxel."""
    array = np.broadcast_to(np.arange(slices, dtype=np.int16)[:, None, None], (slices, 4, 4))
    affine = np.diag([0.7, 0.7, spacing_z_mm, 1.0])
    affine[:3, 3] = (-10, 20, 300)
    return Volume(array_zyx=np.ascontiguousarray(array), index_to_patient=affine, frame_of_reference_uid="1.2")


@settings(deadline=None)
@given(slices=st.integers(1, 40), every=st.integers(1, 6))
def test_kept_slices_stay_in_their_place_and_every_slice_gets_the_nearest(slices: int, every: int) -> None:
    whole = volume(slices)
    few = thinned(whole, every)
    for k, kept in enumerate(few.array_zyx[:, 0, 0]):
        assert few.patient_mm(index_ijk=(1, 2, k)) == pytest.approx(whole.patient_mm(index_ijk=(1, 2, float(kept))))
    for kept in range(len(few.array_zyx)):
        mask = np.zeros(few.array_zyx.shape, np.bool_)
        mask[kept] = True
        found = np.flatnonzero(spread(mask, every, slices).any(axis=(1, 2)))
        assert kept * every in found
        beyond = (slices - 1) % every if kept == len(mask) - 1 else 0
        assert np.abs(found - kept * every).max() <= max(every / 2, beyond)
    assert spread(np.ones(few.array_zyx.shape, np.bool_), every, slices).all()
