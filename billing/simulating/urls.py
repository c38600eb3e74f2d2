from django.urls import path

from billing.simulating import views

urlpatterns = [path("admin/pricing/versions/<str:version>/simulate", views.SimulateView.as_view())]
