"""The committed splits of patients."""

from inference.training.pictures import read_split


def test_split_keeps_patients_apart() -> None:
    training, validation = read_split("covid19_ct_seg_png")
    assert not set(training) & set(validation)
    for side in (training, validation):
        assert len({name.split("_")[0] for name in side}) == 2  # both sources
        assert len(set(side)) == len(side)
    uncertain = {"radiopaedia_29_86490_1", "radiopaedia_29_86491_1"}
    assert uncertain <= set(training) or uncertain <= set(validation)
