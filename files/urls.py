from django.urls import path

from files import views

urlpatterns = [
    path("rooms/<uuid:room_id>/files", views.RoomFilesViewSet.as_view({"get": "list", "post": "create"})),
    path("files/<uuid:file_id>", views.FileViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    path("files/<uuid:file_id>/content", views.FileContentViewSet.as_view({"get": "retrieve"})),
]
