"""Properties of minted UIDs."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.headers import is_valid_uid
from dicom_node.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    device_uid,
    phantom_uid,
    result_uid,
)
from inference.findings import ModelIdentity

TEXT = st.text(max_size=20)
MODEL = st.builds(ModelIdentity, name=TEXT, version=TEXT, digest=TEXT, trained_on=TEXT)
ARGUMENTS = st.fixed_dictionaries(
    {
        "role": TEXT,
        "sources": st.lists(TEXT, max_size=6, unique=True),
        "models": st.lists(MODEL, max_size=3, unique_by=lambda model: (model.name, model.version, model.digest)),
        "settings_digest": TEXT,
        "reason": TEXT,
    }
)


def meaning(arguments: dict) -> tuple:
    models = sorted((model.name, model.version, model.digest) for model in arguments["models"])
    texts = tuple(arguments[part] for part in ("role", "settings_digest", "reason"))
    return *texts, sorted(arguments["sources"]), models


@given(ARGUMENTS, st.randoms())
def test_result_uid_does_not_depend_on_order(arguments: dict, random: Random) -> None:
    shuffled = {**arguments, "sources": list(arguments["sources"]), "models": list(arguments["models"])}
    random.shuffle(shuffled["sources"])
    random.shuffle(shuffled["models"])
    assert result_uid(**shuffled) == result_uid(**arguments)


@given(ARGUMENTS, ARGUMENTS)
def test_result_uids_are_the_same_exactly_where_the_meaning_is(one: dict, other: dict) -> None:
    assert (result_uid(**one) == result_uid(**other)) == (meaning(one) == meaning(other))


@given(ARGUMENTS, st.sampled_from(["role", "settings_digest", "reason"]), TEXT)
def test_each_part_counts(arguments: dict, part: str, value: str) -> None:
    changed = {**arguments, part: value}
    assert (result_uid(**arguments) == result_uid(**changed)) == (arguments[part] == value)


def test_text_moved_from_one_part_to_the_next_gives_another_uid() -> None:
    assert phantom_uid("ab", "c") != phantom_uid("a", "bc")
    rest = {"sources": (), "models": (), "reason": ""}
    assert result_uid(role="ab", settings_digest="c", **rest) != result_uid(role="a", settings_digest="bc", **rest)


@given(ARGUMENTS)
def test_minted_uids_are_valid(arguments: dict) -> None:
    for uid in (result_uid(**arguments), phantom_uid(arguments["role"], 3), device_uid(arguments["role"])):
        assert is_valid_uid(uid)
        assert uid.startswith("2.25.")
        assert int(uid.removeprefix("2.25.")) < 2**128


def test_what_trained_a_model_on_is_no_part_of_its_identity() -> None:
    one, other = (ModelIdentity(name="n", version="1", digest="d", trained_on=text, licence="l") for text in ("a", "b"))
    rest = {"role": "r", "sources": (), "settings_digest": "", "reason": ""}
    assert result_uid(models=(one,), **rest) == result_uid(models=(other,), **rest)


def test_the_implementation_is_named_as_the_standard_allows() -> None:
    assert is_valid_uid(IMPLEMENTATION_CLASS_UID)
    assert 1 <= len(IMPLEMENTATION_VERSION_NAME) <= 16


def test_uids_stay_what_they_are() -> None:
    # A change of the recipe would double the results of every study that is run again.
    assert (
        result_uid(
            role="report/instance",
            sources=("1.2.3", "1.2.4"),
            models=(ModelIdentity(name="lungs_unet", version="1.0.0", digest="ab", trained_on="", licence=""),),
            settings_digest="cd",
            reason="",
        )
        == "2.25.74570712027965971495317398865243695621"
    )
