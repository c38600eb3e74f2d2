from django.urls import path

from billing.simulating import views

_VERSION = "admin/pricing/versions/<str:version>"

urlpatterns = [
    path(f"{_VERSION}/simulate", views.SimulateView.as_view()),
    path(f"{_VERSION}/simulations", views.RunsView.as_view()),
    path(f"{_VERSION}/simulations/<uuid:simulation_id>", views.RunView.as_view()),
]
