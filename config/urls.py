"""One address space: `/api/v1` for clients, `/v1` for those of OpenAI, `/admin/` for staff."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from config.core.problems import handler400, handler403, handler404, handler500
from config.health import HealthView, LiveView
from config.metrics import metrics

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

api: list[URLPattern | URLResolver] = [
    path("health", HealthView.as_view(), name="health"),
    path("health/live", LiveView.as_view(), name="health-live"),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("", include("users.urls")),
    # Before pricing, whose addresses of a version end in one that catches all: the simulation reads billing's events.
    path("", include("billing.urls")),
    path("", include("pricing.urls")),
    path("", include("files.urls")),
    path("", include("sessions_app.urls")),
]

urlpatterns = [
    path("", RedirectView.as_view(url="/api/v1/docs")),
    path("api/v1/", include(api)),
    path("v1/", include("sessions_app.completions.urls")),
    path("admin/", admin.site.urls),
    path("metrics", metrics),
    # With DEBUG on, Django would answer an unknown path with a page of its own.
    re_path(r"^(?:api|v1)(?:/|$)", handler404),
]
