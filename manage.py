#!/usr/bin/env python
"""Django's command line."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] in (["embedded"], ["chat"]):
        # One makes the environment that the settings read, the other talks to a server elsewhere: neither asks for one.
        os.environ.setdefault("DEBUG", "1")

    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # The message names the setting; where it was read does not matter to whoever set it.
        sys.exit(f"Configuration error: {error}")


if __name__ == "__main__":
    main()
