"""The shipped profiles by name."""

from difflib import get_close_matches

from schemas.kucoin.profile import Profile
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (KUCOIN_2019, KUCOIN_CLASSIC)}


class UnknownProfile(ValueError):
    """A profile name that is not shipped; the message lists those that are."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"profile {name!r} is unknown; {hint}known: {', '.join(known)}")


def profile_named(name: str) -> Profile:
    """Return a shipped profile.

    Raises
    ------
    UnknownProfile   with the names there are
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise UnknownProfile(name, tuple(PROFILES)) from None
