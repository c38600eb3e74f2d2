"""Lists of the admin for tables that grow without end: keyset pages, no counts, and search by equality on indexes.

Django's own list counts its rows for every page and skips over those of the pages before; at ten million rows both
take seconds. Here a page is what comes after a row, in the order of an index.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest

BEFORE, AFTER = "before", "after"
USER_COLUMNS = ("user_id", "user")


class KeysetChangeList(ChangeList):
    """A page of rows, newest first, and where the ones next to it begin."""

    newer: str | None = None
    older: str | None = None
    model_admin: Any

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return [f"-{name}" for name in self._keys]

    def get_ordering_field_columns(self) -> dict[int, Any]:
        return {}

    def get_results(self, request: HttpRequest) -> None:
        size, after = self.list_per_page, request.GET.get(AFTER)
        cursor = request.GET.get(BEFORE) or after
        rows = self.queryset if cursor is None else self._beyond(cursor, is_newer=after is not None)
        if after is not None:
            # The rows next to the cursor are read from its end, and then turned round.
            found = list(rows.order_by(*self._keys)[: size + 1])
            page, more = found[:size][::-1], len(found) > size
            self.newer, self.older = self._edge(page, 0, more), self._edge(page, -1, there=True)
        else:
            found = list(rows[: size + 1])
            page, more = found[:size], len(found) > size
            self.newer, self.older = self._edge(page, 0, cursor is not None), self._edge(page, -1, more)
        self.result_list = page
        # Equal, so that the page does not say a number of results that is only its own.
        self.result_count = self.full_result_count = len(page)
        self.show_full_result_count = False
        self.show_admin_actions = bool(page)
        self.can_show_all = self.multi_page = False
        self.paginator = Paginator(page, size)

    @property
    def _keys(self) -> tuple[str, ...]:
        keys: tuple[str, ...] = getattr(self, "_found_keys", self.model_admin.keyset)
        return keys

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        self._found_keys = self.model_admin.keyset_for(request, self.query)
        # The place is no part of what filters and other links keep: they lead to their own first page.
        for name in (BEFORE, AFTER):
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        return super().get_queryset(request, exclude_parameters)

    def _beyond(self, cursor: str, *, is_newer: bool) -> QuerySet[Any]:
        """The rows on one side of the row that the cursor names."""
        try:
            row = self.root_queryset.filter(**{self.model_admin.cursor: cursor}).values_list(*self._keys).first()
        except (ValidationError, ValueError):
            row = None
        if row is None:
            raise IncorrectLookupParameters
        side = "gt" if is_newer else "lt"
        first, *rest = zip(self._keys, row, strict=True)
        beyond = Q(**{f"{first[0]}__{side}": first[1]})
        if rest:
            (name, value) = rest[0]
            # The bound on the first key alone is what an index can begin at.
            beyond |= Q(**{first[0]: first[1], f"{name}__{side}": value})
            beyond &= Q(**{f"{first[0]}__{side}e": first[1]})
        found: QuerySet[Any] = self.queryset.filter(beyond)
        return found

    def _edge(self, page: list[Any], position: int, there: bool) -> str | None:
        return str(getattr(page[position], self.model_admin.cursor)) if page and there else None


class KeysetAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """`find_by`: what a search may be, by column, each with an index, in the order in which they are tried.

    `search_filters` are offered, and taken, beside a search only: without one they would read the whole table.
    """

    keyset: ClassVar[tuple[str, ...]] = ("id",)
    # What a link to the next page names a row by.
    cursor: ClassVar[str] = "pk"
    # The order of the rows of one user, where another index than the primary key has it.
    keyset_of_user: ClassVar[tuple[str, ...] | None] = None
    find_by: ClassVar[tuple[str, ...]] = ()
    search_filters: ClassVar[tuple[Any, ...]] = ()
    change_list_template = "admin/keyset_change_list.html"
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    list_per_page = 50

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetChangeList

    def get_search_fields(self, request: HttpRequest) -> Any:
        """What makes Django show the field; how it is searched is below."""
        return self.find_by or super().get_search_fields(request)

    def get_list_filter(self, request: HttpRequest) -> Any:
        more = self.search_filters if self._has_found(request) else ()
        return (*super().get_list_filter(request), *more)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Not every column, as Django has it: only what a filter is offered for."""
        offered = {self.date_hierarchy, *map(_parameter_of, self.get_list_filter(request))}
        return lookup.partition("__")[0] in offered and super().lookup_allowed(lookup, value, request)

    def keyset_for(self, request: HttpRequest, query: str) -> tuple[str, ...]:
        is_of_user = self.keyset_of_user is not None and self._column_of(request, query)[0] in USER_COLUMNS
        return self.keyset_of_user if is_of_user and self.keyset_of_user else self.keyset

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term.strip():
            return queryset, False
        column, value = self._column_of(request, search_term)
        return (queryset.none() if column is None else self.found_by(queryset, column, value)), False

    def found_by(self, queryset: QuerySet[Any], column: str, value: Any) -> QuerySet[Any]:
        return queryset.filter(**{column: value})

    def _has_found(self, request: HttpRequest) -> bool:
        return self._column_of(request, request.GET.get("q", ""))[0] is not None

    def _column_of(self, request: HttpRequest, text: str) -> tuple[str | None, Any]:
        """The first of the columns in which there is such a value. Asked once a request."""
        asked: dict[str, tuple[str | None, Any]] = request.__dict__.setdefault("_columns_of", {})
        if text not in asked:
            asked[text] = self._look(text.strip())
        return asked[text]

    def _look(self, text: str) -> tuple[str | None, Any]:
        rows = self.model._default_manager.all()
        for column in self.find_by:
            for value in self.values_of(column, text):
                if self.found_by(rows, column, value).order_by()[:1].exists():
                    return column, value
        return None, None

    def values_of(self, column: str, text: str) -> list[Any]:
        """What a search may mean in a column: an id, for users an e-mail address as well."""
        try:
            return [UUID(text)]
        except ValueError:
            pass
        if column not in USER_COLUMNS or "@" not in text:
            return []
        # Folded and indexed by the manager; `iexact` would read all users.
        users: Any = get_user_model()._default_manager
        return list(users.with_address(text).values_list("pk", flat=True)[:1])


def _parameter_of(offered: Any) -> str:
    """What a filter is asked by: a column, a column with the class that shows it, or a class with a name of its own."""
    if isinstance(offered, str):
        return offered
    name: str = offered[0] if isinstance(offered, tuple) else offered.parameter_name
    return name
