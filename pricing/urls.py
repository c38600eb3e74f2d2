from django.urls import path, re_path

from config.core.problems import handler404
from pricing import version_views, views

_VERSION = "admin/pricing/versions/<str:version>"

urlpatterns = [
    path("models", views.ModelsView.as_view()),
    path("admin/pricing", views.AdminPricingView.as_view()),
    path("admin/pricing/versions", version_views.VersionsView.as_view()),
    path(_VERSION, version_views.VersionView.as_view()),
    path(f"{_VERSION}/schedule", version_views.ScheduleView.as_view()),
    path(f"{_VERSION}/unschedule", version_views.UnscheduleView.as_view()),
    path(f"{_VERSION}/activate", version_views.ActivateView.as_view()),
    path(f"{_VERSION}/rollback", version_views.RollBackView.as_view()),
    path(f"{_VERSION}/diff", version_views.DiffView.as_view()),
    # Aliases may hold slashes, so the longer address comes first.
    path(f"{_VERSION}/models/<path:model_alias>", views.AdminVersionModelView.as_view()),
    path(f"{_VERSION}/tools/<str:tool_name>", views.AdminVersionToolView.as_view()),
    # Not an alias named "versions".
    re_path(r"^admin/pricing/versions(?:/.*)?$", handler404),
    path("admin/pricing/<path:model_alias>", views.AdminModelPricingView.as_view()),
]
