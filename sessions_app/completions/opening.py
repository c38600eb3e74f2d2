"""Opening a completion: transaction 1. Replay, price, insert, hold; refused as a whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from django.conf import settings
from django.db import OperationalError

from billing import enforcement, ledger
from billing.errors import InsufficientCredits
from billing.ledger import Place, Reference, Share
from config.core import idempotency
from config.core.errors import ValidationFailed, WalletBusy
from config.core.ids import uuid7
from config.core.transactions import CONTENDED_SQLSTATES, retrying, sqlstate
from pricing import cache as price_cache
from pricing.price_book import ModelPrice, PriceBook
from pricing.rating import affordable_output_tokens
from sessions_app.completions import rows
from sessions_app.completions.asked import CompletionRequest
from sessions_app.errors import ContextBudgetExceeded
from sessions_app.llm.estimate import BOUND_TOKENS_PER_MESSAGE, input_bound
from sessions_app.llm.providers import configured
from sessions_app.llm.types import Role
from sessions_app.models import Completion
from sessions_app.turns.counting import exactly_blocking
from sessions_app.turns.preparing import find_price, most, price_of

RESOURCE = "completion"
_SYSTEM: Role = "system"
# Some chat templates write a system message of their own where a call begins with another role.
_TEMPLATE_TOKENS = 64


@dataclass(frozen=True, slots=True)
class OpenedCompletion:
    """Opened and held for: what runs from here. `output_tokens` bounds the answer."""

    id: UUID
    claim: UUID
    request: CompletionRequest
    book: PriceBook
    price: ModelPrice
    output_tokens: int
    created_at: datetime

    @property
    def reference(self) -> Reference:
        return Reference(RESOURCE, self.id)


def open_completion(request: CompletionRequest) -> OpenedCompletion | Completion:
    """Admit a completion, find the one that its key stands for, or say why not.

    Locks:       completion (inserted) → wallet.
    Idempotent:  on (caller, key): a replay is looked up before the balance.
    Keeps:       L2, L5.
    Raises:      UnknownModelAlias, ValidationFailed, ContextBudgetExceeded, InsufficientCredits, SpendingLimitReached,
                 IdempotencyKeyReused, WalletBusy. Nothing is written then, but what had expired of a wallet that
                 refused.
    """
    found = idempotency.find(request.claim)
    if found is not None:
        return Completion.objects.get(id=found.resource_id)
    book = price_cache.latest()
    price = price_of(book, request.model_alias)
    _ensure_it_knows_tools(request, price)
    input_tokens = _input_tokens(request, price)
    wanted = request.max_output_tokens or settings.LLM_MAX_OUTPUT_TOKENS
    output_tokens = min(wanted, price.context_tokens - input_tokens)
    opened = OpenedCompletion(uuid7(), uuid4(), request, book, price, output_tokens, datetime.now(UTC))
    try:
        row, is_replay = retrying(lambda: _open(opened, most(input_tokens, output_tokens, price, book)))
    except InsufficientCredits as refusal:
        # The refusal has undone the expiry whose numbers it says.
        ledger.expire_lots(user_id=request.user_id)
        raise _with_alternatives(refusal, opened, input_tokens) from None
    except OperationalError as error:
        if sqlstate(error) in CONTENDED_SQLSTATES:
            raise WalletBusy from None
        raise
    return row if is_replay else opened


def _ensure_it_knows_tools(request: CompletionRequest, price: ModelPrice) -> None:
    """Raises: ValidationFailed."""
    if not _knows_tools(request, price):
        raise ValidationFailed(
            "The provider of this model knows no functions.", field="tools", error_code="not_supported"
        )


def _knows_tools(request: CompletionRequest, price: ModelPrice) -> bool:
    return not request.tools or configured()[price.provider].tool_mode == "native"


def _open(opened: OpenedCompletion, hold: Decimal) -> tuple[Completion, bool]:
    def make() -> UUID:
        rows.insert(
            id_=opened.id,
            user_id=opened.request.user_id,
            model_alias=opened.price.model_alias,
            pricing=(opened.book.pricing_version, opened.book.revision),
            claim=opened.claim,
            created_at=opened.created_at,
        )
        ledger.place_hold(
            user_id=opened.request.user_id,
            reference=opened.reference,
            shares=[Share(opened.price.model_alias, hold)],
            enforcement=enforcement.current(user_id=opened.request.user_id),
            place=Place(api_key_id=opened.request.api_key_id),
        )
        return opened.id

    return idempotency.once(
        opened.request.claim, resource_type=RESOURCE, make=make, load=lambda id_: Completion.objects.get(id=id_)
    )


def _input_tokens(request: CompletionRequest, price: ModelPrice) -> int:
    """The most that the provider can count. Where that does not fit, it is asked to count, before anything is held.

    Raises: ContextBudgetExceeded where not even one token of an answer would fit.
    """
    needed = _bound(request)
    if needed < price.context_tokens:
        return needed
    texts = [message.content for message in request.messages]
    is_text_alone = request.schema is None and not request.tools and not any(m.tool_calls for m in request.messages)
    counts = exactly_blocking(price.model_alias, list(dict.fromkeys(texts))) if is_text_alone else {}
    if counts:
        needed = sum(counts[text] + BOUND_TOKENS_PER_MESSAGE for text in texts) + _template(request)
        if needed < price.context_tokens:
            return needed
    raise ContextBudgetExceeded(
        model_alias=price.model_alias, needed_tokens=needed, context_tokens=price.context_tokens
    )


def _bound(request: CompletionRequest) -> int:
    return input_bound(request.messages, schema=request.schema, tools=request.tools) + _template(request)


def _template(request: CompletionRequest) -> int:
    return 0 if request.messages[0].role == _SYSTEM else _TEMPLATE_TOKENS


def _with_alternatives(
    refusal: InsufficientCredits, opened: OpenedCompletion, input_tokens: int
) -> InsufficientCredits:
    """Which aliases the wallet could pay for this call, and how long an answer of the asked one may be."""
    book = opened.book
    fitting = [price.model_alias for price in book.models.values() if _fits(refusal, opened, price)]
    tokens = affordable_output_tokens(
        credits=refusal.available, input_tokens=input_tokens, multiplier=opened.price.multiplier, weights=book.weights
    )
    affordable = None if tokens is None or tokens < 1 else min(tokens, opened.output_tokens)
    return refusal.with_alternatives(models=fitting, max_output_tokens=affordable)


def _fits(refusal: InsufficientCredits, opened: OpenedCompletion, price: ModelPrice) -> bool:
    """Whether the same request to another alias would be admitted, by its bound: as long as that context leaves."""
    request = opened.request
    if find_price(opened.book, price.model_alias) is None or not _knows_tools(request, price):
        return False
    input_tokens = _bound(request)
    wanted = request.max_output_tokens or settings.LLM_MAX_OUTPUT_TOKENS
    output_tokens = min(wanted, price.context_tokens - input_tokens)
    cost = most(input_tokens, output_tokens, price, opened.book)
    return output_tokens > 0 and (cost == 0 or cost <= refusal.available_for(price.model_alias))
