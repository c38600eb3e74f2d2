"""What a turn that the wallet does not cover could ask for instead: another alias, a shorter answer.

Each suggestion is planned as its retry would be, and fits. Nothing is derived from the size of the refused call: an
alias of another context reads more or less of the conversation, and a shorter answer leaves more room to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from billing.errors import InsufficientCredits
from pricing.rating import affordable_output_tokens
from sessions_app.errors import ContextBudgetExceeded, UnknownModelAlias
from sessions_app.turns.loading import Loaded
from sessions_app.turns.preparing import prepare, price_of
from sessions_app.turns.turn import Prepared, TurnRequest

# A conversation may let in one more message at each; then the length is taken that leaves room for all of them.
_STEPS = 8


def offered(
    refusal: InsufficientCredits, request: TurnRequest, loaded: Loaded, refused: Prepared, *, exact: Mapping[str, int]
) -> InsufficientCredits:
    """The refusal with the aliases whose first call would fit, and how long an answer of those asked for may be.

    A turn that continues another goes on as that began: there is nothing to choose.
    """
    if request.continues is not None:
        return refusal.with_alternatives(models=[], max_output_tokens=None)
    models = [
        alias
        for alias in refused.book.models
        if _fits(refusal, _planned(replace(request, model_alias_override=alias), loaded, {}))
    ]
    return refusal.with_alternatives(
        models=models, max_output_tokens=_longest(refusal, request, loaded, refused, exact)
    )  # fmt: skip


def _longest(
    refusal: InsufficientCredits, request: TurnRequest, loaded: Loaded, refused: Prepared, exact: Mapping[str, int]
) -> int | None:
    """None where no length would fit, or where the first call is one whose length nobody chooses."""
    tokens, planned = request.max_output_tokens, refused
    for _ in range(_STEPS):
        shorter = _affordable(refusal, planned)
        if shorter is None or shorter >= tokens:
            return None
        tokens, found = shorter, _planned(replace(request, max_output_tokens=shorter), loaded, exact)
        if found is None or _fits(refusal, found):
            return tokens if found else None
        planned = found
    fullest = _planned(replace(request, max_output_tokens=1), loaded, exact)
    surely = _affordable(refusal, fullest) if fullest else None
    if surely is None:
        return None
    return surely if _fits(refusal, _planned(replace(request, max_output_tokens=surely), loaded, exact)) else None


def _affordable(refusal: InsufficientCredits, planned: Prepared) -> int | None:
    """How long the answer to what this first call reads may be."""
    price = price_of(planned.book, planned.first_share.model_alias)
    tokens = affordable_output_tokens(
        credits=refusal.available_for(price.model_alias),
        input_tokens=planned.window.input_tokens,
        multiplier=price.multiplier,
        weights=planned.book.weights,
    )
    return None if tokens is None or tokens < 1 else tokens


def _planned(request: TurnRequest, loaded: Loaded, exact: Mapping[str, int]) -> Prepared | None:
    """What opening would decide: by bounds, and by what a provider has counted only where those do not fit."""
    for counts in ({}, exact) if exact else ({},):
        try:
            return prepare(request, loaded, exact=counts)
        except (ContextBudgetExceeded, UnknownModelAlias):
            continue
    return None


def _fits(refusal: InsufficientCredits, planned: Prepared | None) -> bool:
    if planned is None:
        return False
    share = planned.first_share
    return share.amount == 0 or share.amount <= refusal.available_for(share.model_alias)
