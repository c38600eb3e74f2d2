from django.urls import path

from billing.alerts import views

urlpatterns = [
    path("users/me/alerts", views.AlertSettingsView.as_view()),
    path("users/me/webhooks", views.WebhooksView.as_view()),
    path("users/me/webhooks/<uuid:webhook_id>", views.WebhookView.as_view()),
    path("users/me/webhooks/<uuid:webhook_id>/test", views.WebhookTestView.as_view()),
    path("users/me/webhooks/<uuid:webhook_id>/deliveries", views.DeliveriesView.as_view()),
]
