from django.urls import include, path

from billing import checking_views, enforcement_views, views

urlpatterns = [
    path("users/me/wallet", views.MyWalletView.as_view()),
    path("users/me/transactions", views.MyTransactionsView.as_view()),
    path("users/me/usage", views.MyUsageView.as_view()),
    path("", include("billing.alerts.urls")),
    path("admin/wallets/<uuid:user_id>", views.SupportWalletView.as_view()),
    path("admin/settings/enforcement", enforcement_views.EnforcementView.as_view()),
    path("admin/settings/enforcement/shadow", enforcement_views.ShadowView.as_view()),
    path("admin/settings/enforcement/shadow/refusals", enforcement_views.ShadowRefusalsView.as_view()),
    path("admin/users/<uuid:user_id>/enforcement", enforcement_views.UserEnforcementView.as_view()),
    path("admin/ledger/check", checking_views.CheckView.as_view()),
    path("admin/ledger/anchors", checking_views.AnchorsView.as_view()),
    path("", include("billing.reports.urls")),
    path("", include("billing.corrections.urls")),
    path("", include("billing.limits.urls")),
    path("", include("billing.simulating.urls")),
]
