from django.urls import path

from pricing import views

urlpatterns = [
    path("models", views.ModelsView.as_view()),
    path("admin/pricing", views.AdminPricingView.as_view()),
    # Aliases may hold slashes, so the longer address comes first.
    path("admin/pricing/versions/<str:version>/models/<path:model_alias>", views.AdminVersionModelView.as_view()),
    path("admin/pricing/<path:model_alias>", views.AdminModelPricingView.as_view()),
]
