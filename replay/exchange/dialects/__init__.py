"""The dialects the exchange speaks, one file each, by the name of their profile."""

from replay.exchange.dialect import Dialect
from replay.exchange.dialects.kucoin_2019 import Dialect2019
from replay.exchange.dialects.kucoin_classic import DialectClassic
from replay.exchange.synthetic.wording import Wording, Wording2019, WordingClassic

DIALECTS: dict[str, Dialect] = {
    dialect.profile.name: dialect for dialect in (Dialect2019(), DialectClassic())
}
WORDINGS: dict[str, Wording] = {
    Dialect2019.profile.name: Wording2019(),
    DialectClassic.profile.name: WordingClassic(),
}
"""How the synthetic market tells its events in each dialect."""
