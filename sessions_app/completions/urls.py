from __future__ import annotations

from django.urls import path

from sessions_app.completions.views import ChatCompletionsView, OpenAIModelsView, OpenAIModelView

urlpatterns = [
    path("chat/completions", ChatCompletionsView.as_view(), name="chat-completions"),
    path("models", OpenAIModelsView.as_view(), name="openai-models"),
    path("models/<str:model>", OpenAIModelView.as_view(), name="openai-model"),
]
