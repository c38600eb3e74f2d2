from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class SessionsConfig(AppConfig):
    name = "sessions_app"
    verbose_name = "Rooms and turns"

    def ready(self) -> None:
        """A provider that is configured wrongly stops the start, not the first turn."""
        from sessions_app.llm.providers import ProviderConfigError, check_providers, configured

        try:
            check_providers(settings.LLM_PROVIDERS)
            configured()
        except ProviderConfigError as error:
            raise ImproperlyConfigured(str(error)) from None
