from django.apps import AppConfig


class UsersConfig(AppConfig):
    name = "users"
    verbose_name = "Users"

    def ready(self) -> None:
        # Imported for what they register: system checks, and the security scheme of the OpenAPI file.
        from users import checks, openapi  # noqa: F401, PLC0415
