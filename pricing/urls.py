from django.urls import path, re_path

from config.core.problems import handler404
from pricing import views

urlpatterns = [
    path("models", views.ModelsView.as_view()),
    path("admin/pricing", views.AdminPricingView.as_view()),
    # Aliases may hold slashes, so the longer address comes first.
    path("admin/pricing/versions/<str:version>/models/<path:model_alias>", views.AdminVersionModelView.as_view()),
    path("admin/pricing/versions/<str:version>/tools/<str:tool_name>", views.AdminVersionToolView.as_view()),
    # Not an alias named "versions".
    re_path(r"^admin/pricing/versions(?:/.*)?$", handler404),
    path("admin/pricing/<path:model_alias>", views.AdminModelPricingView.as_view()),
]
