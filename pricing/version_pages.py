"""Pages of the admin about a version: the review with its confirm buttons, and the clone form."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse

from config.core.errors import DomainError
from config.core.transactions import LOCK_TIMEOUT_SQLSTATE, sqlstate
from pricing import drafting, lifecycle
from pricing.models import PricingVersion
from pricing.reviewing import history_of, processes_beside, review_context
from pricing.version_forms import ActForm, CloneForm, acts_of

_CHANGE_PAGE = "admin:pricing_pricingversion_change"
_BUSY = "Somebody else is changing prices right now. Try again."
_DONE = {
    "schedule": "{version} comes into force on {effective_at:%Y-%m-%d at %H:%M} UTC.",
    "unschedule": "{version} is a draft again.",
    "activate": "{version} is in force.",
    "rollback": "{version} is in force, with the prices of {old}.",
}


class VersionPages(admin.ModelAdmin):  # type: ignore[type-arg]
    """What PricingVersionAdmin has beside Django's own pages."""

    change_form_template = "admin/pricing/pricingversion/change_form.html"

    def get_urls(self) -> list[Any]:
        own = [("review", self.review), ("clone", self.clone)]
        return [*(self._url(name, view) for name, view in own), *super().get_urls()]

    def _url(self, name: str, view: Any) -> Any:
        guarded: Any = self.admin_site.admin_view(view)
        return path(f"<uuid:pk>/{name}/", guarded, name=f"pricing_pricingversion_{name}")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        version = self.get_object(request, object_id)
        more = {} if version is None else _beside(request, version)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})

    def review(self, request: HttpRequest, pk: UUID) -> HttpResponseBase:
        """What the version changes, what it would have charged, and the buttons that bring it into force."""
        if not request.user.has_perm("pricing.view_pricingversion"):
            raise PermissionDenied
        version, active = _version(pk), _active()
        initial: dict[str, Any] = {"seen_revision": version.revision}
        if active is not None:
            initial |= {"replaces": active.version, "replaces_revision": active.revision}
        form = ActForm(request.POST or None, initial=initial | {"effective_at": version.effective_at})
        if request.method == "POST":
            if not request.user.has_perm("pricing.change_pricingversion"):
                raise PermissionDenied
            done = self._acted(request, version, form)
            if done is not None:
                return done
        context = {"form": form, "version": version, "active": active, "acts": acts_of(version)}
        return self._page(request, f"Review {version.version}", "review", {
            **context, **review_context(request, version, active), "may_act": _may(request, "change"),
        }, form=form)  # fmt: skip

    def _acted(self, request: HttpRequest, version: PricingVersion, form: ActForm) -> HttpResponseBase | None:
        """Do what was confirmed; None where it was refused, which the form then says."""
        if not form.is_valid():
            return None
        try:
            made = _perform(version, form.cleaned_data, actor=str(request.user.pk))
        except (DomainError, OperationalError) as refusal:
            form.add_error(None, _said(refusal))
            return None
        text = _DONE[form.cleaned_data["act"]].format(
            version=made.version, old=version.version, effective_at=made.effective_at
        )
        messages.success(request, text)
        return HttpResponseRedirect(reverse(_CHANGE_PAGE, args=[made.pk]))

    def clone(self, request: HttpRequest, pk: UUID) -> HttpResponseBase:
        """A draft that is a copy of this version."""
        if not request.user.has_perm("pricing.add_pricingversion"):
            raise PermissionDenied
        source = _version(pk)
        form = CloneForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                made = drafting.make_draft(
                    version=form.cleaned_data["version"],
                    clone_from=source.version,
                    fields={"note": form.cleaned_data["note"]},
                    actor=str(request.user.pk),
                )
            except (DomainError, OperationalError) as refusal:
                form.add_error(None, _said(refusal))
            else:
                messages.success(request, f"{made.version} is a draft, cloned from {source.version}.")
                return HttpResponseRedirect(reverse(_CHANGE_PAGE, args=[made.pk]))
        return self._page(request, f"Clone {source.version}", "clone", {"form": form, "version": source}, form=form)

    def _page(
        self, request: HttpRequest, title: str, template: str, context: dict[str, Any], *, form: Form
    ) -> TemplateResponse:
        shown = {**self.admin_site.each_context(request), "title": title, "opts": PricingVersion._meta, **context}
        status = 422 if form.is_bound and form.errors else 200
        return TemplateResponse(request, f"admin/pricing/pricingversion/{template}.html", shown, status=status)


def _perform(version: PricingVersion, asked: dict[str, Any], *, actor: str) -> PricingVersion:
    """Raises: what the lifecycle raises."""
    name, seen = version.version, asked["seen_revision"]
    replaced = {"replaces": asked["replaces"], "replaces_revision": asked["replaces_revision"]}
    match asked["act"]:
        case "schedule":
            moment = asked["effective_at"]
            return lifecycle.schedule(pricing_version=name, effective_at=moment, expected_revision=seen, actor=actor)
        case "unschedule":
            return lifecycle.unschedule(pricing_version=name, expected_revision=seen, actor=actor)
        case "activate":
            return lifecycle.activate(pricing_version=name, expected_revision=seen, actor=actor, **replaced)
        case _:
            return lifecycle.roll_back(
                pricing_version=name,
                note=asked["note"],
                expected_revision=seen,
                actor=actor,
                **replaced,
            )


def _beside(request: HttpRequest, version: PricingVersion) -> dict[str, Any]:
    """What the page of a version shows beside the form."""
    active = _active()
    return {
        "history": history_of(version),
        "processes": processes_beside(active),
        "active": active,
        "acts": acts_of(version),
        "may_clone": _may(request, "add"),
        "previous": _previous(version) if active and version.pk == active.pk else None,
    }


def _previous(active: PricingVersion) -> PricingVersion | None:
    """What was in force before: where one click rolls back to."""
    been = PricingVersion.objects.filter(status=PricingVersion.Status.RETIRED, activated_at__isnull=False)
    return been.order_by("-retired_at", "-activated_at").first()


def _version(pk: UUID) -> PricingVersion:
    found = PricingVersion.objects.filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def _active() -> PricingVersion | None:
    return PricingVersion.objects.filter(status=PricingVersion.Status.ACTIVE).first()


def _may(request: HttpRequest, act: str) -> bool:
    return request.user.has_perm(f"pricing.{act}_pricingversion")


def _said(refusal: DomainError | OperationalError) -> str:
    """Raises: the error itself, where it is no refusal."""
    if isinstance(refusal, DomainError):
        return refusal.detail
    if sqlstate(refusal) != LOCK_TIMEOUT_SQLSTATE:
        raise refusal
    return _BUSY
