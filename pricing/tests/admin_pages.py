"""The admin's pages as a browser sees them: what a form would post as it is, and what went wrong."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.models import LogEntry
from django.test import Client

from pricing.models import ModelPricing, PricingVersion
from pricing.tests.makers import SEED, make_staff
from users.models import User

VERSIONS = "/admin/pricing/pricingversion/"
ALL = [
    f"{act}_{model}"
    for act in ("add", "change", "delete", "view")
    for model in ("pricingversion", "modelpricing", "toolpricing")
]


def make_editor() -> User:
    return make_staff(*ALL, "view_pricingrevision")


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page_of(version: PricingVersion) -> str:
    return f"{VERSIONS}{version.pk}/change/"


def form_of(browser: Client, url: str) -> dict[str, Any]:
    """What a browser would post if the page were submitted as it is."""
    context = browser.get(url).context
    forms = [context["adminform"].form]
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    fields = [field for form in forms for field in form]
    return {field.html_name: _posted(field.value()) for field in fields if not field.field.disabled}


def _posted(value: Any) -> str:
    return "" if value is None else str(value)


def row_of(form: dict[str, Any], model_alias: str, version: str = SEED) -> str:
    """The prefix of a price's inputs: the rows are in the order of their aliases."""
    row = ModelPricing.objects.get(version__version=version, model_alias=model_alias)
    (name,) = [name for name, value in form.items() if name.endswith("-id") and value == str(row.pk)]
    return name.removesuffix("id")


def said() -> list[str]:
    """What Django's log says of all that was done, in order."""
    return [entry.get_change_message() for entry in LogEntry.objects.order_by("id")]


def errors_of(answer: Any) -> str:
    assert answer.status_code == 200
    found = answer.context["errors"]
    assert found
    return " ".join(str(error) for error in found)


def new_rows(form: dict[str, Any], *aliases: str, **fields: str) -> dict[str, Any]:
    first = int(form["models-TOTAL_FORMS"])
    added = dict(form)
    for number, alias in enumerate(aliases, start=first):
        values = {"model_alias": alias, "multiplier": "1", "provider": "default", "provider_model": "m", **fields}
        added |= {f"models-{number}-{name}": value for name, value in values.items()}
        added[f"models-{number}-context_tokens"] = "1000"
    return added | {"models-TOTAL_FORMS": str(first + len(aliases))}
