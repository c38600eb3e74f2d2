from django.apps import AppConfig


class EmbeddedConfig(AppConfig):
    name = "config.embedded"
    label = "embedded"
    verbose_name = "Embedded services for development and tests"
