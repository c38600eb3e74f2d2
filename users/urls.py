from __future__ import annotations

from django.urls import path

from users.api_key_views import ApiKeysView, ApiKeyView
from users.views import LogoutView, MeView, RegisterView, TokenView

urlpatterns = [
    path("auth/register", RegisterView.as_view(), name="auth-register"),
    path("auth/token", TokenView.as_view(), name="auth-token"),
    path("auth/logout", LogoutView.as_view(), name="auth-logout"),
    path("auth/me", MeView.as_view(), name="auth-me"),
    path("users/me/api-keys", ApiKeysView.as_view(), name="api-keys"),
    path("users/me/api-keys/<uuid:key_id>", ApiKeyView.as_view(), name="api-key"),
]
