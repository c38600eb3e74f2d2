"""Continuing an interrupted turn: who has spoken and was paid for, who has not, and in which order it goes on.

A turn that continues another may be interrupted as well; then the whole chain is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from config.core.errors import NotFound
from sessions_app.errors import TurnNotResumable
from sessions_app.models import Turn, TurnStep
from sessions_app.orchestration import routing
from sessions_app.turns.outcome import asked_for_tools
from sessions_app.turns.planning import Plan, Resumption, Speaker

# Of each answer the key, the name and the text.
Answers = tuple[tuple[str, str, str], ...]


def chain_of_turn(turn_id: UUID, *, user_id: UUID) -> list[Turn]:
    """A turn and those that it continues, oldest first.

    Raises: NotFound.
    """
    turn = Turn.objects.filter(id=turn_id, user_id=user_id).first()
    if turn is None:
        raise NotFound
    chain = [turn]
    while chain[-1].continues_id is not None:
        chain.append(Turn.objects.get(id=chain[-1].continues_id))
    return chain[::-1]


def steps_of(chain: Sequence[Turn]) -> list[TurnStep]:
    """What the turns of a chain did, in order."""
    return [step for part in chain for step in TurnStep.objects.filter(turn=part).order_by("step_index")]


def ensure_resumable(turn: Turn, *, last_turn_id: UUID | None) -> None:
    """Decided by `last_turn_id` alone, which was read together with the caller's key: a continuation that this very key
    has made since is found by the insert, as a replay, and must not be refused here.

    Raises: TurnNotResumable for a turn that was not interrupted, is not the last one, or was continued already.
    """
    if turn.status != Turn.Status.INTERRUPTED:
        raise TurnNotResumable(f"This turn is {turn.status}; only an interrupted one can be resumed.")
    if last_turn_id == turn.id:
        return
    if Turn.objects.filter(continues=turn).exists():
        raise TurnNotResumable("Another turn continues this one already.")
    raise TurnNotResumable("There is a later turn in this session.")


def resumed(plan: Plan, steps: Sequence[TurnStep]) -> Plan:
    """The plan with where it goes on. No agent that has said something is asked again.

    Raises: TurnNotResumable when nobody is left to speak.
    """
    # What an agent said before it used a tool is no answer: it is asked again, and sees what its tools gave.
    steps = [step for step in steps if not asked_for_tools(step.context)]
    answers = tuple(_answer(step) for step in steps if step.purpose == "agent" and step.content)
    if plan.mode == "orchestrator":
        return replace(plan, resumption=_orchestrated(plan, steps, answers))
    spoken = {key for key, _, _ in answers} | {step.agent_key for step in steps if _is_done(step)}
    left = tuple(speaker for speaker in plan.speakers if speaker.agent_key not in spoken)
    if not left:
        raise TurnNotResumable("Every agent of this turn has answered.")
    return replace(plan, resumption=Resumption("speak", left, answers))


def _orchestrated(
    plan: Plan, steps: Sequence[TurnStep], answers: tuple[tuple[str, str, str], ...]
) -> Resumption | None:
    """Where an orchestrated turn goes on; None: from its start. Its last routing that was understood still holds."""
    if any(step.purpose == "synthesis" and step.content for step in steps):
        raise TurnNotResumable("The orchestrator has given its final answer.")
    rounds, chosen, spoken = 0, None, set[str]()
    for step in steps:
        if step.purpose == "router":
            found = routing.understood(step.content, plan.speakers, may_be_nobody=rounds > 0)
            if found is not None:
                rounds, chosen, spoken = rounds + 1, found, set()
        elif step.purpose == "agent" and (step.content or _is_done(step)):
            spoken.add(step.agent_key)
    if chosen is None:
        return Resumption("route", (), answers) if answers else None
    left = tuple(_as_planned(plan, speaker) for speaker in chosen.speakers if speaker.agent_key not in spoken)
    again = chosen.second_round and rounds < routing.MAX_ROUNDS
    if left:
        return Resumption("speak", left, answers, max(1, rounds), again)
    if not answers:
        raise TurnNotResumable("The agents that were chosen have nothing to say.")
    return Resumption("route" if again else "synthesise", (), answers, rounds + again, again=False)


def _as_planned(plan: Plan, speaker: Speaker) -> Speaker:
    return next(planned for planned in plan.speakers if planned.agent_key == speaker.agent_key)


def _answer(step: TurnStep) -> tuple[str, str, str]:
    return step.agent_key, step.agent_name, step.content


def _is_done(step: TurnStep) -> bool:
    return step.purpose == "agent" and step.status == "success"
