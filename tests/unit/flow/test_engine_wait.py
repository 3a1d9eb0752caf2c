"""How long a study waits until it looks for its engine again."""

from itertools import accumulate, takewhile

from dicom_node.flow.process import ENGINE_RETRY_LONGEST_S, engine_pause_s


def test_pauses_grow_with_the_wait_and_stay_short_enough_to_notice_a_server() -> None:
    assert engine_pause_s(0.0) == 5.0
    assert engine_pause_s(60.0) == 15.0
    assert engine_pause_s(72 * 3600.0) == ENGINE_RETRY_LONGEST_S == 30.0


def test_a_server_that_is_away_for_a_minute_is_found_within_a_quarter_more() -> None:
    looks = takewhile(lambda at: at < 200, accumulate(range(100), lambda at, _: at + engine_pause_s(at), initial=0.0))
    assert min(at for at in looks if at >= 60) <= 75
