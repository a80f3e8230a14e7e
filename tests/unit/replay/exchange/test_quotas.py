"""How much a client may ask."""

from replay.exchange.quotas import Admission, SlidingQuota, WindowQuota
from schemas.kucoin.profile import Rate

S = 1_000_000_000


def test_requests_slide_out_of_the_window_and_nothing_is_said() -> None:
    quota = SlidingQuota(Rate(2, 10.0))
    asked = [quota.admit("me", 5, t * S) for t in (0, 1, 2, 10, 10)]
    assert [one.allowed for one in asked] == [True, True, False, True, False]
    assert quota.admit("you", 1, 10 * S) == Admission(allowed=True)
    assert quota.refuse(5 * S) == Admission(allowed=False)


def test_weight_is_full_again_a_window_after_the_first_request() -> None:
    quota = WindowQuota(Rate(10, 30.0))

    def ask(weight: int, second: float) -> tuple[bool, str, str]:
        answer = quota.admit("me", weight, round(second * S))
        assert answer.headers["gw-ratelimit-limit"] == "10"
        assert str(answer.remaining) == answer.headers["gw-ratelimit-remaining"]
        headers = answer.headers
        return answer.allowed, headers["gw-ratelimit-remaining"], headers["gw-ratelimit-reset"]

    assert ask(4, 100) == (True, "6", "30000")
    assert ask(4, 105) == (True, "2", "25000")
    # What does not fit costs nothing: something smaller still does.
    assert ask(4, 129) == (False, "2", "1000")
    assert ask(2, 129.9995) == (True, "0", "1")
    assert ask(10, 130) == (True, "0", "30000")
    assert quota.admit("you", 10, 130 * S).allowed


def test_a_refusal_says_when_to_come_back_at_most_a_window_away() -> None:
    quota = WindowQuota(Rate(10, 30.0))
    told = {left: quota.refuse(left * S).headers["gw-ratelimit-reset"] for left in (2, 60, 0)}
    assert told == {2: "2000", 60: "30000", 0: "30000"}
    assert not quota.refuse(S).allowed
