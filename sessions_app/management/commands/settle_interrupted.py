from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from sessions_app.completions.recovery import recover_lost_completions
from sessions_app.turns.recovery import recover_lost_turns


class Command(BaseCommand):
    help = "Bill and end every turn and completion whose process died. What the beat does; safe at any time."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{recover_lost_turns()} interrupted turns settled.")
        self.stdout.write(f"{recover_lost_completions()} interrupted completions settled.")
