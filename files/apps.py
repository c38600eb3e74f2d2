from django.apps import AppConfig


class FilesConfig(AppConfig):
    """What may agents read? Uploads of rooms, and the text that is found in them."""

    name = "files"
