"""Django's admin as an app, with a site of our own. A module apart: apps are read before there are models."""

from django.contrib.admin.apps import AdminConfig


class StaffAdminConfig(AdminConfig):
    default_site = "users.admin_site.StaffSite"
