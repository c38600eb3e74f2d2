"""`manage.py chat`: a room in the terminal, on any server."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessions_app.chat import rooms
from sessions_app.chat.api import Api
from sessions_app.chat.conversation import converse, greet, recite
from sessions_app.chat.keyboard import Keyboard
from sessions_app.chat.problems import ChatError
from sessions_app.chat.safe_text import on_one_line
from sessions_app.chat.screen import Screen
from sessions_app.chat.signing_in import SignIn
from sessions_app.chat.sitting import Sitting
from sessions_app.chat.watching import Left

INTERRUPTED = 128 + signal.SIGINT


class Command(BaseCommand):
    help = (
        "Talk to the agents of a room and see what it costs. Speaks HTTP to a running server. With lines on its"
        " standard input it posts each as a turn and exits with 1 where one does not complete."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        default_url = f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"
        parser.add_argument("--url", default=default_url, help="of the server (default: %(default)s)")
        parser.add_argument(
            "--token", default="", help="else TALLYROOM_TOKEN, or TALLYROOM_EMAIL and TALLYROOM_PASSWORD, or asked for"
        )
        parser.add_argument("--room", default="", metavar="NAME_OR_ID", help="else chosen from a list")
        parser.add_argument("--session", default="", metavar="ID", help="to continue, or `last`, or `new`")
        parser.add_argument("--max-output-tokens", type=int, metavar="N", help="the longest answer")
        parser.add_argument("--plain", action="store_true", help="without colours, as where NO_COLOR is set")

    def handle(self, *_args: Any, **options: Any) -> None:
        for stream in (sys.stdin, sys.stdout):
            # A model may say what the terminal's encoding cannot.
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        screen = Screen(sys.stdout, coloured=sys.stdout.isatty() and not is_plain(options))
        keyboard = Keyboard(screen, interactive=sys.stdin.isatty())
        try:
            completed = chat(screen, keyboard, options)
        except ChatError as error:
            screen.end_line()
            raise CommandError(on_one_line(str(error))) from None
        except (Left, KeyboardInterrupt):
            screen.line("")
            sys.exit(INTERRUPTED)
        except EOFError:
            sys.exit(1)
        except BrokenPipeError:
            # Who read our output has gone. Python would complain about it once more at its own end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if not completed:
            sys.exit(1)


def is_plain(options: dict[str, Any]) -> bool:
    has_declined = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return bool(options["plain"] or options["no_color"] or has_declined)


def chat(screen: Screen, keyboard: Keyboard, options: dict[str, Any]) -> bool:
    """Whether every turn of a script completed; a person sees it for themselves."""
    api = Api(options["url"])
    SignIn(api, keyboard, screen, token=options["token"])
    sitting = Sitting(api, screen, keyboard, max_output_tokens=options["max_output_tokens"])
    greet(sitting)
    rooms.enter(sitting, room=options["room"], session=options["session"])
    if keyboard.interactive:
        converse(sitting)
        return True
    return recite(sitting, sys.stdin)
