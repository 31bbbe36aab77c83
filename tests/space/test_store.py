"""What the store takes from private parts of the Hub's client."""

from huggingface_hub import get_session

from pipeline.space.store import SILENCE_SECONDS, _calm_client


def test_the_hub_s_own_client_gets_a_time_limit_and_keeps_all_else() -> None:
    plain = get_session()
    _calm_client()
    calm = get_session()
    assert calm.timeout.read == calm.timeout.connect == SILENCE_SECONDS
    assert calm.follow_redirects == plain.follow_redirects
    assert [len(calm.event_hooks[name]) for name in ("request", "response")] == [
        len(plain.event_hooks[name]) for name in ("request", "response")
    ]
