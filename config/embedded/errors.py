"""What the embedded services tell the person at the terminal."""


class EmbeddedError(Exception):
    """A failure whose message is all that the reader needs: it is printed without a traceback."""


class Interrupted(Exception):
    """A signal asked this process to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"signal {signum}")
        self.exit_code = 128 + signum
