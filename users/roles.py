"""Who on the staff may do what: three groups, made and completed after each `migrate`.

A role has at least what stands here. What an operator adds to it stays; who wants less than a role makes another group.
Staff need `is_staff` besides, and may be in several.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed
from django.db.models import Q

PRICING_EDITOR, SUPPORT, AUDITOR = "pricing editor", "support", "auditor"

# Role → app → what of its models. `view_*` is everything that there is to see, whatever will be added.
PERMISSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    PRICING_EDITOR: {
        "pricing": (
            "view_*",
            *("add_pricingversion", "change_pricingversion"),
            *("add_modelpricing", "change_modelpricing", "delete_modelpricing"),
            *("add_toolpricing", "change_toolpricing", "delete_toolpricing"),
        ),
        # What a version would have charged is told from what was used.
        "billing": ("view_llmcallevent", "view_pricesimulation"),
    },
    # Wallets: looked at, granted to, refunded, adjusted, voided. What things cost, not what people wrote.
    SUPPORT: {
        "users": ("view_user",),
        "billing": (
            *("view_creditwallet", "view_credittransaction", "view_creditgrant", "view_credithold"),
            *(
                "view_creditallocation",
                "view_llmcallevent",
                "view_toolcallevent",
                "view_spendinglimit",
                "view_userenforcement",
            ),
            *("add_creditgrant", "change_creditgrant", "add_credittransaction"),
        ),
    },
    # Everything, to look at; that includes running a check of the ledger.
    AUDITOR: dict.fromkeys(
        ("admin", "auth", "billing", "files", "knox", "pricing", "sessions_app", "users"), ("view_*",)
    ),
}


def complete_roles(app_config: AppConfig, using: str = "default", **signal: Any) -> None:
    """Add to the roles what an app's models bring. For `post_migrate`, app by app. Idempotent."""
    from django.contrib.auth.management import create_permissions
    from django.contrib.auth.models import Group, Permission

    # Django makes an app's permissions after the same signal, and not necessarily before this.
    create_permissions(app_config, verbosity=0, using=using)
    for role, apps in PERMISSIONS.items():
        names = apps.get(app_config.label, ())
        if not names:
            continue
        named = Q(codename__in=[name for name in names if not name.endswith("*")])
        for name in names:
            if name.endswith("*"):
                named |= Q(codename__startswith=name[:-1])
        group, _ = Group.objects.using(using).get_or_create(name=role)
        group.permissions.add(*Permission.objects.using(using).filter(named, content_type__app_label=app_config.label))


def complete_all_roles() -> None:
    """All apps at once, as after a `migrate`."""
    for app_config in installed.get_app_configs():
        complete_roles(app_config)
