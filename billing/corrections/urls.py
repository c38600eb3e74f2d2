from django.urls import path

from billing.corrections import views

urlpatterns = [
    path("admin/wallets/<uuid:user_id>/grant", views.GrantView.as_view()),
    path("admin/wallets/<uuid:user_id>/adjust", views.AdjustView.as_view()),
    path("admin/wallets/<uuid:user_id>/refund", views.RefundView.as_view()),
    path("admin/grants/<uuid:grant_id>/void", views.VoidView.as_view()),
]
