"""Django's PostgreSQL backend, with one difference: it never hands out a pooled connection that the server has closed.

After an outage of the database each idle connection of the pool would fail once, and with it somebody's request.
"""

from __future__ import annotations

import select
from typing import Any

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A live connection. Dead ones are given back to the pool closed, which replaces them.

        Costs no round trip. Raises: OperationalError when the database is away.
        """
        connection = super().get_new_connection(conn_params)
        if self.pool:
            for _ in range(self.pool.max_size):
                if not _closed_by_the_server(connection):
                    break
                connection.close()
                self.pool.putconn(connection)
                connection = super().get_new_connection(conn_params)
        return connection


def _closed_by_the_server(connection: Any) -> bool:
    """An idle PostgreSQL connection has nothing to say; one that is readable has been closed from the other side."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP)
    return bool(poll.poll(0))
