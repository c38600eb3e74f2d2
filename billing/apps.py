from uuid import UUID

from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        from billing.desk import exceptions, usage_reports
        from billing.limits import subjects
        from billing.simulating.section import simulation_section
        from pricing.reviewing import register_section
        from users.models import ApiKey

        def owns_key(user_id: UUID, key_id: UUID) -> bool:
            return ApiKey.objects.filter(id=key_id, user_id=user_id, revoked_at=None).exists()

        subjects.register("api_key", owns_key)
        register_section(simulation_section)
        usage_reports.register_all()
        exceptions.register_all()
