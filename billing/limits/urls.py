from django.urls import path

from billing.limits import views

urlpatterns = [
    path("users/me/spending-limits", views.MyLimitsView.as_view()),
    path("users/me/spending-limits/<uuid:limit_id>", views.MyLimitView.as_view()),
    path("admin/users/<uuid:user_id>/spending-limits", views.UserLimitsView.as_view()),
    path("admin/users/<uuid:user_id>/spending-limits/<uuid:limit_id>", views.UserLimitView.as_view()),
]
