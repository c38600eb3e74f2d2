"""An address space for tests: the real error handlers over views that fail on purpose."""

from __future__ import annotations

from django.urls import path

from config.core.problems import handler400, handler403, handler404, handler500
from config.core.tests.api import views

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

urlpatterns = [
    path("orders", views.OrdersView.as_view()),
    path("fails/<name>", views.FailingView.as_view()),
    path("plain", views.failing_plain_view),
    path("async/orders", views.AsyncOrdersView.as_view()),
    path("async/fails/<name>", views.AsyncFailingView.as_view()),
    path("async/stream", views.AsyncStreamView.as_view()),
]
