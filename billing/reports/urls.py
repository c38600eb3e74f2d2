from django.urls import path

from billing.reports import views

urlpatterns = [
    path("admin/usage/summary", views.UsageSummaryView.as_view()),
    path("admin/analytics/active-users", views.ActiveUsersView.as_view()),
]
