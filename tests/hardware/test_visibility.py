from gpumod.hardware.visibility import PidView, PidVisibility, pid_view

GIB = 1024**3


def listed_again(*pids):
    return lambda: set(pids)


def never():
    raise AssertionError("the driver need not be asked again")


def uncertain(*here):
    return PidVisibility(PidView.UNCERTAIN, set(here).__contains__)


def test_on_the_host_itself_pids_are_what_they_are_even_if_one_has_just_gone():
    visibility = PidVisibility(PidView.SAME, lambda pid: False)
    assert visibility.judge({7}, GIB, never)
    assert visibility.judge((), GIB, never)


def test_wsl2_never_shows_pids():
    assert not PidVisibility(PidView.OTHER).judge({7}, 0, never)


def test_a_pid_that_ended_between_two_calls_is_no_sign():
    assert uncertain(7).judge({7, 8}, GIB, listed_again(7))


def test_a_pid_that_stays_listed_and_is_not_here_is_of_somewhere_else_for_good():
    visibility = uncertain(7)
    assert not visibility.judge({7, 8}, GIB, listed_again(7, 8))
    assert not visibility.judge({7}, GIB, never), "7 may be here by chance"


def test_a_process_seen_here_that_lingers_on_the_card_is_no_sign():
    here = {7}
    visibility = PidVisibility(PidView.UNCERTAIN, here.__contains__)
    assert visibility.judge({7}, GIB, never)
    here.clear()
    assert visibility.judge({7}, GIB, never)
    assert visibility.judge((), GIB, never)


def test_memory_that_nobody_is_listed_for_is_a_sign():
    assert not uncertain().judge((), GIB, never)
    assert uncertain().judge((), 3 * 1024**2, never), "a driver's own few MiB are not"


def test_a_card_that_was_used_by_nobody_listed_stays_in_doubt_when_it_is_empty_until_a_pid_is_seen():
    visibility = uncertain(7)
    assert visibility.judge((), 0, never)
    assert not visibility.judge((), GIB, never)
    assert not visibility.judge((), 0, never), "it would be the same if a process were still there"
    assert visibility.judge({7}, GIB, never)
    assert visibility.judge((), 0, never)


def test_how_this_process_sees_pids_is_told_from_its_namespace(tmp_path):
    assert pid_view(str(tmp_path)) is PidView.UNCERTAIN
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/dxg").touch()
    assert pid_view(str(tmp_path)) is PidView.OTHER
