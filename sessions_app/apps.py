from collections.abc import Sequence
from uuid import UUID

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
        self._say_whose_rooms_they_are()
        self._say_what_is_over()
        from sessions_app import desk_report

        desk_report.register_all()
        self._say_where_it_is_shown()

    def _say_whose_rooms_they_are(self) -> None:
        from billing.limits import subjects
        from files import rooms
        from sessions_app.models import Agent, Room
        from sessions_app.room_ownership import gone_rooms, owns_room

        def owns(model: type[Agent] | type[Room]) -> subjects.IsOwner:
            return lambda user_id, id_: model.objects.filter(id=id_, user_id=user_id, deleted_at=None).exists()

        subjects.register("room", owns(Room))
        subjects.register("agent", owns(Agent))
        rooms.register(rooms.Rooms(owns=owns_room, gone=gone_rooms))

    def _say_what_is_over(self) -> None:
        from billing import references
        from sessions_app.models import Completion, Turn

        def ended(model: type[Turn] | type[Completion], *running: str) -> references.IsOver:
            def are_over(ids: Sequence[UUID]) -> set[UUID]:
                return set(ids) - set(model.objects.filter(id__in=ids, status__in=running).values_list("id", flat=True))

            return are_over

        references.register("turn", ended(Turn, "queued", "running"))
        references.register("completion", ended(Completion, "running"))

    def _say_where_it_is_shown(self) -> None:
        from billing import reference_links
        from pricing.reviewing import register_section
        from sessions_app.price_review import agents_section
        from sessions_app.work_links import completion_links, turn_links

        reference_links.register("turn", turn_links)
        reference_links.register("completion", completion_links)
        register_section(agents_section)
