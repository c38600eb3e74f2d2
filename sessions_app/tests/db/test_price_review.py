"""What a price version leaves without a model is told before it comes into force."""

from __future__ import annotations

import re

import pytest
from django.test import RequestFactory

from pricing.models import PricingVersion
from pricing.services import remove_model
from pricing.tests.makers import SEED, make_next
from sessions_app import services
from sessions_app.price_review import agents_section
from sessions_app.tests.makers import make_agents, make_person

pytestmark = pytest.mark.django_db


def shown(version: str) -> str:
    html = agents_section(RequestFactory().get("/"), PricingVersion.objects.get(version=version))
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_agents_whose_alias_it_lacks_are_counted_by_alias():
    alice, bob = make_person("alice"), make_person("bob")
    make_agents(alice, "ann", "ben")
    make_agents(bob, "carl")
    make_agents(bob, "dora", model_alias="deepseek")
    make_agents(bob, "eve", model_alias="gemini-pro")
    (gone,) = make_agents(alice, "gone", model_alias="deepseek")
    services.delete_agent(gone)
    make_next()
    for alias in ("gpt-4o", "deepseek"):
        remove_model(pricing_version="next", model_alias=alias, actor="t")
    assert "gpt-4o 3 2 deepseek 1 1 Their turns are refused" in shown("next")
    assert "Nobody: every agent's model alias" in shown(SEED)


def test_settings_that_name_what_it_lacks_are_told(settings):
    settings.SUMMARY_MODEL_ALIAS = "deepseek"
    make_next()
    assert "SUMMARY_MODEL_ALIAS" not in shown("next")
    remove_model(pricing_version="next", model_alias="deepseek", actor="t")
    assert "deepseek the setting SUMMARY_MODEL_ALIAS" in shown("next")
