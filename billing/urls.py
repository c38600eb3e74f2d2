from django.urls import path

from billing import views

urlpatterns = [
    path("users/me/wallet", views.MyWalletView.as_view()),
    path("users/me/transactions", views.MyTransactionsView.as_view()),
    path("users/me/usage", views.MyUsageView.as_view()),
    path("admin/wallets/<uuid:user_id>", views.SupportWalletView.as_view()),
    path("admin/wallets/<uuid:user_id>/grant", views.GrantView.as_view()),
    path("admin/wallets/<uuid:user_id>/adjust", views.AdjustView.as_view()),
    path("admin/settings/enforcement", views.EnforcementView.as_view()),
]
