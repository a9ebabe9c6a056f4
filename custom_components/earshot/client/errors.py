"""What can go wrong between the integration and the model server."""


class EarshotError(Exception):
    """Base of every error of this client."""


class CannotConnect(EarshotError):
    """Nobody answers at the address, or answers with a server error."""


class ConnectTimeout(CannotConnect):
    """The address does not answer in time."""


class TlsFailed(CannotConnect):
    """The server's certificate is not trusted, or it does not speak TLS."""


class ConnectionLost(CannotConnect):
    """The stream broke without a word from the server."""


class InvalidAuth(EarshotError):
    """The server refuses the token."""


class NotEarshot(EarshotError):
    """Something else than an Earshot model server answers."""


class ProtocolMismatch(EarshotError):
    """The server speaks another protocol version: update the older of the two."""

    def __init__(self, theirs: int, ours: int) -> None:
        """Keep both versions for the message."""
        super().__init__(f"server speaks protocol {theirs}, this client {ours}")
        self.theirs = theirs
        self.ours = ours


class InvalidMessage(EarshotError):
    """The server sent a message that breaks the protocol; names the field."""


class VocabularyRefused(EarshotError):
    """The server does not take the vocabulary; says why."""


class ClipNotFound(EarshotError):
    """The microphone has no such clip, or has it no longer."""


class StreamError(EarshotError):
    """The server ended the stream with an error frame."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the code for the caller's decision."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
