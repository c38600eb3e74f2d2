"""Is this process able to do its work, and at which price?"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config import presence
from config.core import rate_limits
from pricing import cache as price_cache
from pricing.errors import NoActiveVersion


class LiveView(APIView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(operation_id="health_live", responses={200: OpenApiTypes.OBJECT}, auth=[])
    def get(self, request: Request) -> Response:
        """The process answers. No I/O."""
        return Response({"status": "ok", "version": settings.VERSION})


class HealthView(APIView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(operation_id="health", responses={200: OpenApiTypes.OBJECT, 503: OpenApiTypes.OBJECT}, auth=[])
    def get(self, request: Request) -> Response:
        """Database, Redis, worker, rate limits, and the price version and revision that this process serves.

        503 without database.
        """
        checks = health_checks()
        states = [checks["database"], checks["redis"], checks["worker"], checks["pricing"]["status"]]
        body = {
            "status": "ok" if all(state == "ok" for state in states) else "degraded",
            "version": settings.VERSION,
            "checks": checks,
        }
        return Response(body, status=200 if checks["database"] == "ok" else 503)


def health_checks() -> dict[str, Any]:
    database = _database_answers()
    worker = presence.worker_is_there()
    return {
        "database": "ok" if database else "down",
        "redis": "ok" if presence.redis_answers() else "down",
        "worker": "unknown" if worker is None else "ok" if worker else "absent",
        "rate_limits": rate_limits.state(),
        "pricing": _pricing() if database else {"status": "unknown"},
    }


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return bool(cursor.fetchone() == (1,))
    except (DatabaseError, InterfaceError):
        return False


def _pricing() -> dict[str, Any]:
    try:
        book = price_cache.current()
    except (DatabaseError, NoActiveVersion):
        return {"status": "down"}
    return {
        "status": "ok",
        "pricing_version": book.pricing_version,
        "revision": book.revision,
        "age_s": round(price_cache.snapshot_age_s(), 1),
    }
