from typing import Any

from django.urls import path

from sessions_app import export_views, turn_reading_views, turn_views, views

_collection: Any = {"get": "list", "post": "create"}
_item: Any = {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}

urlpatterns = [
    path("agents", views.AgentViewSet.as_view(_collection)),
    path("agents/<uuid:agent_id>", views.AgentViewSet.as_view(_item)),
    path("agents/<uuid:agent_id>/sessions", views.AgentSessionViewSet.as_view(_collection)),
    path("rooms", views.RoomViewSet.as_view(_collection)),
    path("rooms/<uuid:room_id>", views.RoomViewSet.as_view(_item)),
    path("rooms/<uuid:room_id>/mode", views.RoomViewSet.as_view({"patch": "set_mode"})),
    path("rooms/<uuid:room_id>/agents", views.RoomAgentViewSet.as_view(_collection)),
    path(
        "rooms/<uuid:room_id>/agents/<uuid:agent_id>",
        views.RoomAgentViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
    path("rooms/<uuid:room_id>/sessions", views.RoomSessionViewSet.as_view(_collection)),
    path("sessions/<uuid:session_id>", views.SessionViewSet.as_view(_item)),
    path("sessions/<uuid:session_id>/export", export_views.SessionExportView.as_view()),
    path("sessions/<uuid:session_id>/messages", views.SessionViewSet.as_view({"get": "messages"})),
    path("sessions/<uuid:session_id>/summaries", views.SessionViewSet.as_view({"get": "summaries"})),
    path("sessions/<uuid:session_id>/turns", turn_views.TurnsView.as_view()),
    path("sessions/<uuid:session_id>/turns/stream", turn_views.TurnStreamView.as_view()),
    path("sessions/<uuid:session_id>/turns/estimate", turn_reading_views.TurnEstimateView.as_view()),
    path("turns/<uuid:turn_id>", turn_reading_views.TurnView.as_view()),
    path("turns/<uuid:turn_id>/bill", turn_reading_views.TurnBillView.as_view()),
    path("turns/<uuid:turn_id>/context", turn_reading_views.TurnContextView.as_view()),
    path("turns/<uuid:turn_id>/cancel", turn_views.TurnCancelView.as_view()),
    path("turns/<uuid:turn_id>/events", turn_views.TurnEventsView.as_view()),
    path("turns/<uuid:turn_id>/resume", turn_views.ResumeView.as_view()),
    path("turns/<uuid:turn_id>/resume/stream", turn_views.ResumeStreamView.as_view()),
    path("turns/<uuid:turn_id>/regenerate", turn_views.RegenerateView.as_view()),
    path("turns/<uuid:turn_id>/regenerate/stream", turn_views.RegenerateStreamView.as_view()),
]
