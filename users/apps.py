from django.apps import AppConfig
from django.db.models.signals import post_migrate


class UsersConfig(AppConfig):
    name = "users"
    verbose_name = "Users"

    def ready(self) -> None:
        # Imported for what it registers: the security scheme of the OpenAPI file.
        from users import openapi  # noqa: F401
        from users.roles import complete_roles

        post_migrate.connect(complete_roles, dispatch_uid="users.roles")
