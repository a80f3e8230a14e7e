"""What can be wrong with how the exchange is asked to run.

ExchangeError (a ReplayError)
├── BadOption              what was asked for makes no sense; asking again cannot help
│   ├── BadSymbol          a name the exchange cannot list
│   ├── BadFault           a ``--fault`` word it does not understand
│   ├── BadEvent           an ``--event`` it does not understand, or that cannot happen then
│   ├── BadKeyFile         a file of API keys that cannot be used, or that others may read
│   ├── BadDuration        a time without a unit
│   ├── BadCertificate     a TLS certificate or key that cannot be used
│   ├── NotLoopback        an address other machines could reach
│   └── UnwritableFile     an output file that cannot be created
├── PortInUse              the port is taken
└── OrderRefused           an order the matching engine does not accept: our own mistake
"""

from pathlib import Path

from replay.errors import ReplayError


class ExchangeError(ReplayError):
    """Base of this package's errors."""


class BadOption(ExchangeError):
    """What was asked for makes no sense."""


class BadSymbol(BadOption):
    """A symbol that is not two upper-case currencies joined by a hyphen."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        super().__init__(
            f"cannot list the symbol {symbol!r}",
            "write it like BTC-USDT: two upper-case currency codes joined by a hyphen",
        )


class BadFault(BadOption):
    """A fault specification with a word that means nothing."""

    def __init__(self, spec: str, word: str, hint: str) -> None:
        self.spec = spec
        self.word = word
        super().__init__(f"cannot read the fault {spec!r}: {word!r} is not understood", hint)


class BadEvent(BadOption):
    """An event of the listing that means nothing, or cannot happen when it is due."""

    def __init__(self, spec: str, problem: str, hint: str) -> None:
        self.spec = spec
        super().__init__(f"cannot take the event {spec!r}: {problem}", hint)


class BadKeyFile(BadOption):
    """A file of API keys that cannot be used; nothing of its content is repeated."""

    def __init__(self, path: Path, problem: str, hint: str) -> None:
        self.path = path
        super().__init__(f"cannot use the keys of {path}: {problem}", hint)


class BadDuration(BadOption):
    """A text that is no duration."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(f"{text!r} is no duration", "give it a unit, as in 500ms, 8s or 2m")


class BadCertificate(BadOption):
    """A TLS certificate or key that cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(
            f"cannot use the certificate {path}: {reason}",
            "give --tls-cert a PEM file with a certificate and --tls-key its key, unencrypted",
        )


class NotLoopback(BadOption):
    """An address that is not on this machine alone."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"refusing to listen on {host!r}: it is not a loopback address",
            "use 127.0.0.1, ::1 or localhost; this exchange is for this machine only",
        )


class UnwritableFile(BadOption):
    """An output file that cannot be created."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(
            f"cannot write {path}: {reason}",
            "choose a path in a folder that exists and is writable",
        )


class PortInUse(ExchangeError):
    """Another process listens there."""

    retryable = True

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"cannot listen on {host}:{port}: the port is in use",
            "stop the other process, choose another --port, or use --port 0 for a free one",
        )


class OrderRefused(ExchangeError):
    """An order the engine does not accept; a mistake of the flow, never of a client."""
