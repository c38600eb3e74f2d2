"""Whose wallet pays: a token, or an e-mail address and a password, from the environment or asked for."""

from __future__ import annotations

import os

from sessions_app.chat.api import Api
from sessions_app.chat.keyboard import Keyboard
from sessions_app.chat.problems import ChatError, Problem
from sessions_app.chat.screen import Screen

TRIES = 3
NOBODY_TO_ASK = "Not signed in: set TALLYROOM_TOKEN, or TALLYROOM_EMAIL and TALLYROOM_PASSWORD."


class SignIn:
    """Fills in the API's token, at the start and whenever it is refused."""

    def __init__(self, api: Api, keyboard: Keyboard, screen: Screen, *, token: str = "") -> None:
        self._api = api
        self._keyboard = keyboard
        self._screen = screen
        self._email = os.environ.get("TALLYROOM_EMAIL", "")
        self._password = os.environ.get("TALLYROOM_PASSWORD", "")
        token = token or os.environ.get("TALLYROOM_TOKEN", "")
        if token:
            api.token = token
        else:
            self.again()
        api.sign_in_again = self.again

    def again(self) -> None:
        """Raises: Problem where the password is wrong, ChatError where nobody can be asked for one."""
        self._api.token = ""
        for tries_left in range(TRIES - 1, -1, -1):
            email, password = self._login()
            try:
                self._api.token = self._api.token_for(email, password)
            except Problem as problem:
                if problem.status != 401 or not self._keyboard.interactive or not tries_left:
                    raise
                self._screen.error(str(problem))
                # What the environment says is wrong, or we would not be here.
                self._email = self._password = ""
            else:
                self._email, self._password = email, password
                return

    def _login(self) -> tuple[str, str]:
        if self._email and self._password:
            return self._email, self._password
        if not self._keyboard.interactive:
            raise ChatError(NOBODY_TO_ASK)
        self._screen.line(f"Sign in at {self._api.url}")
        email = self._keyboard.ask("E-mail", default=self._email)
        return email, self._keyboard.secret("Password")
