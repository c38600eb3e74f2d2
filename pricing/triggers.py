"""What PostgreSQL itself records and refuses about prices, so that neither psql nor a bulk `update()` gets round it.

Every change of a version or of a price in it makes a revision: the version's count goes up by one, and a row of
`pricing_revisions` keeps who, old → new, and the whole version as it is from then on. Numbers are kept as text there:
as JSON numbers they would come back as floats. A statement that changes nothing makes no revision.

Who it was, the transaction says by `set_config('tallyroom.actor', …, true)`: see `pricing.actor`.
"""

from __future__ import annotations

import pgtrigger

_ACTOR = "COALESCE(NULLIF(current_setting('tallyroom.actor', true), ''), 'unknown')"
# What is no part of a price, and so no change of it.
_VERSION_ASIDE = "ARRAY['id', 'revision', 'created_at']"
_PRICE_ASIDE = "ARRAY['id', 'version_id', 'updated_at']"


def _differences(aside: str) -> str:
    """Each field that differs between OLD and NEW, as text, into `changed`; NULL where none does."""
    return f"""
        SELECT jsonb_object_agg(key, jsonb_build_object('old', was.value, 'new', now_is.value)) INTO changed
          FROM jsonb_each_text(COALESCE(to_jsonb(OLD) - {aside}, '{{}}'::jsonb)) was
          FULL JOIN jsonb_each_text(COALESCE(to_jsonb(NEW) - {aside}, '{{}}'::jsonb)) now_is USING (key)
         WHERE was.value IS DISTINCT FROM now_is.value;
        IF changed IS NULL THEN
            RETURN NULL;
        END IF;
    """  # noqa: S608 - constants only


def _record(*, version_id: str, action: str, model_alias: str = "NULL", tool_name: str = "NULL") -> str:
    """Insert the revision row. Runs after the change, so the tables already hold what the snapshot is to show."""
    return f"""
        INSERT INTO pricing_revisions
               (id, pricing_version, revision, action, model_alias, tool_name, changes, actor, created_at, snapshot)
        SELECT gen_random_uuid(), v.version, v.revision, {action}, {model_alias}, {tool_name}, changed, {_ACTOR},
               clock_timestamp(),
               jsonb_build_object(
                   'pricing_version', v.version, 'revision', v.revision, 'status', v.status,
                   'weights', jsonb_build_object(
                       'input_fresh', v.weight_input_fresh::text, 'input_cache_write', v.weight_input_cache_write::text,
                       'input_cached', v.weight_input_cached::text, 'output', v.weight_output::text,
                       'divisor', v.divisor::text),
                   'models', COALESCE(
                       (SELECT jsonb_agg((SELECT jsonb_object_agg(key, value)
                                            FROM jsonb_each_text(to_jsonb(m) - {_PRICE_ASIDE})) ORDER BY m.model_alias)
                          FROM model_pricing m WHERE m.version_id = v.id), '[]'::jsonb),
                   'tools', COALESCE(
                       (SELECT jsonb_object_agg(t.tool_name, t.credits_per_call::text)
                          FROM tool_pricing t WHERE t.version_id = v.id), '{{}}'::jsonb))
          FROM pricing_versions v WHERE v.id = {version_id};
        RETURN NULL;
    """  # noqa: S608 - constants only


def _version_is_guarded() -> pgtrigger.Trigger:
    """Frozen: the name always, weights and divisor outside drafts, a retired version's status.

    The count is the database's own: what a statement writes there is ignored, because an instance that was read a while
    ago would take it back. Only a trigger (depth 2: a price has changed) moves it.
    """
    return pgtrigger.Trigger(
        name="guarded",
        operation=pgtrigger.Update,
        when=pgtrigger.Before,
        func=f"""
        IF NEW.id <> OLD.id OR NEW.version <> OLD.version THEN
            RAISE EXCEPTION 'price version % keeps its name: history refers to it', OLD.version USING ERRCODE = '23514';
        END IF;
        IF OLD.status <> 'draft' AND (NEW.weight_input_fresh, NEW.weight_input_cache_write, NEW.weight_input_cached,
                NEW.weight_output, NEW.divisor) IS DISTINCT FROM (OLD.weight_input_fresh, OLD.weight_input_cache_write,
                OLD.weight_input_cached, OLD.weight_output, OLD.divisor) THEN
            RAISE EXCEPTION 'weights and divisor of price version % are frozen: it is no draft', OLD.version
                USING ERRCODE = '23514';
        END IF;
        IF NEW.status <> OLD.status
                AND (OLD.status = 'retired' OR (OLD.status = 'active' AND NEW.status <> 'retired')) THEN
            RAISE EXCEPTION 'price version % cannot go from % to %', OLD.version, OLD.status, NEW.status
                USING ERRCODE = '23514';
        END IF;
        IF pg_trigger_depth() < 2 THEN
            NEW.revision := OLD.revision;
        END IF;
        IF to_jsonb(NEW) - {_VERSION_ASIDE} <> to_jsonb(OLD) - {_VERSION_ASIDE} THEN
            NEW.revision := OLD.revision + 1;
        END IF;
        RETURN NEW;
        """,
    )


def _version_is_recorded() -> pgtrigger.Trigger:
    action = """CASE WHEN TG_OP = 'INSERT' THEN 'created' WHEN changed ? 'status' THEN 'status' ELSE 'changed' END"""
    return pgtrigger.Trigger(
        name="recorded",
        operation=pgtrigger.Insert | pgtrigger.Update,
        when=pgtrigger.After,
        declare=[("changed", "JSONB")],
        func=_differences(_VERSION_ASIDE) + _record(version_id="NEW.id", action=action),
    )


def _one_version_is_active() -> pgtrigger.Trigger:
    """L7, at commit: activation retires one and activates another. "At most one" is a partial unique index.

    None is right only while no version has left draft: in a database that is being set up.
    """
    return pgtrigger.Trigger(
        name="one_active",
        operation=pgtrigger.Insert | pgtrigger.Update,
        when=pgtrigger.After,
        timing=pgtrigger.Deferred,
        func="""
        IF EXISTS (SELECT 1 FROM pricing_versions WHERE status <> 'draft')
                AND NOT EXISTS (SELECT 1 FROM pricing_versions WHERE status = 'active') THEN
            RAISE EXCEPTION 'L7: no price version is active' USING ERRCODE = '23514';
        END IF;
        RETURN NULL;
        """,
    )


def _price_is_guarded(name: str) -> pgtrigger.Trigger:
    """The prices of a scheduled version stay as they were promised and those of a retired one as they were, and a price
    stays that of its alias or tool (`name`) in its version.

    Locks the version, so that it cannot be scheduled or retire between this look and the commit of the change.
    """
    return pgtrigger.Trigger(
        name="guarded",
        operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
        when=pgtrigger.Before,
        declare=[("state", "TEXT")],
        func=f"""
        SELECT status INTO state FROM pricing_versions WHERE id = COALESCE(NEW.version_id, OLD.version_id)
           FOR NO KEY UPDATE;
        IF state IN ('scheduled', 'retired') THEN
            RAISE EXCEPTION 'the prices of a % version cannot change', state USING ERRCODE = '23514';
        END IF;
        IF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
        IF TG_OP = 'UPDATE' AND (NEW.id, NEW.version_id, NEW.{name}) <> (OLD.id, OLD.version_id, OLD.{name}) THEN
            RAISE EXCEPTION 'the price of % keeps its name and its version', OLD.{name} USING ERRCODE = '23514';
        END IF;
        NEW.updated_at := clock_timestamp();
        IF to_jsonb(NEW) - 'updated_at' = to_jsonb(OLD) - 'updated_at' THEN
            NEW.updated_at := OLD.updated_at;
        END IF;
        RETURN NEW;
        """,  # noqa: S608 - constants only
    )


def _price_is_recorded(name: str) -> pgtrigger.Trigger:
    action = "CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'DELETE' THEN 'removed' ELSE 'changed' END"
    return pgtrigger.Trigger(
        name="recorded",
        operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
        when=pgtrigger.After,
        declare=[("changed", "JSONB"), ("parent", "UUID := COALESCE(NEW.version_id, OLD.version_id)")],
        func="".join(
            (
                _differences(_PRICE_ASIDE),
                "UPDATE pricing_versions SET revision = revision + 1 WHERE id = parent;",
                _record(version_id="parent", action=action, **{name: f"COALESCE(NEW.{name}, OLD.{name})"}),
            )
        ),
    )


def _never_truncated() -> pgtrigger.Trigger:
    """TRUNCATE is a delete that no row trigger sees."""
    return pgtrigger.Trigger(
        name="never_truncated",
        level=pgtrigger.Statement,
        operation=pgtrigger.Truncate,
        when=pgtrigger.Before,
        func="RAISE EXCEPTION 'L6: Cannot truncate %: events are recomputed from prices of the past', TG_TABLE_NAME;",
    )


def for_versions() -> list[pgtrigger.Trigger]:
    """A version is never deleted either: turns, events and history refer to it by name."""
    never_deleted = pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete)
    return [_version_is_guarded(), _version_is_recorded(), _one_version_is_active(), never_deleted, _never_truncated()]


def for_model_prices() -> list[pgtrigger.Trigger]:
    return [_price_is_guarded("model_alias"), _price_is_recorded("model_alias")]


def for_tool_prices() -> list[pgtrigger.Trigger]:
    return [_price_is_guarded("tool_name"), _price_is_recorded("tool_name")]


def for_revisions() -> list[pgtrigger.Trigger]:
    append_only = pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)
    return [append_only, _never_truncated()]
