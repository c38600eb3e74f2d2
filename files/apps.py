from django.apps import AppConfig


class FilesConfig(AppConfig):
    """What may agents read? Uploads and their parsing come to live here."""

    name = "files"
