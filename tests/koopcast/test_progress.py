from koopcast.progress import Progress, listening, report


def test_reports_reach_the_listener_and_nobody_else() -> None:
    heard: list[Progress] = []
    report("epoch", 1, 3)
    with listening(heard.append):
        report("epoch", 2, 3, loss=0.5)
    report("epoch", 3, 3)
    assert heard == [Progress("epoch", 2, 3, {"loss": 0.5})]


def test_an_inner_listener_hides_the_outer_one_for_its_time() -> None:
    outer: list[Progress] = []
    inner: list[Progress] = []
    with listening(outer.append):
        with listening(inner.append):
            report("cycle", 1, 1)
        report("cycle", 2, 2)
    assert [p.done for p in inner] == [1]
    assert [p.done for p in outer] == [2]
