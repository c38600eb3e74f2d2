from django.apps import AppConfig


class UsersConfig(AppConfig):
    name = "users"
    verbose_name = "Users"

    def ready(self) -> None:
        # Imported for what it registers: the security scheme of the OpenAPI file.
        from users import openapi  # noqa: F401
