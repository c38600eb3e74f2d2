"""DRF's `APIView` with async handlers: same authenticators, serializers, errors and schema, one thread hop.

DRF itself is synchronous. Only turns and streams need async, because they wait for a provider; everything else stays
a plain viewset.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.core.transactions import in_thread


class AsyncAPIView(APIView):
    """Handlers are `async def`. They do their database work in `await self.admitted(request, work)`.

    That call also authenticates, so that a turn's admission is one hop.
    """

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        self.args, self.kwargs = args, kwargs
        drf_request: Request = self.initialize_request(request, *args, **kwargs)
        self.request = drf_request
        self.headers = self.default_response_headers
        response: HttpResponseBase
        try:
            handler: Any = getattr(self, (request.method or "").lower(), None)
            if handler is None or (request.method or "").lower() not in self.http_method_names:
                self.http_method_not_allowed(drf_request, *args, **kwargs)
            response = await handler(drf_request, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - DRF's own contract: handle_exception re-raises what it does not know
            response = self.handle_exception(error)
        if isinstance(response, Response):
            if not hasattr(drf_request, "accepted_renderer"):
                drf_request.accepted_renderer, drf_request.accepted_media_type = self.perform_content_negotiation(
                    drf_request, force=True
                )
            rendered: Response = self.finalize_response(drf_request, response, *args, **kwargs)
            rendered.render()
            return rendered
        for name, value in self.headers.items():
            response.headers.setdefault(name, value)
        return response

    async def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        describe = super().options
        response: Response = await self.admitted(request, lambda: describe(request, *args, **kwargs))
        return response

    async def admitted(self, request: Request, work: Any) -> Any:
        """Authenticate, check permissions and negotiate, then run `work()`, all in one thread hop."""

        def unit() -> Any:
            self.initial(request, *self.args, **self.kwargs)
            return work()

        return await in_thread(unit)
