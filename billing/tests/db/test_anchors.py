"""Anchors: made once, over what was there at a time; kept elsewhere, they are what a forger cannot rewrite."""

from __future__ import annotations

import hashlib
from datetime import UTC, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection, transaction
from django.utils import timezone

from billing import anchors, closing, tasks
from billing.anchors import make_anchor, state_at, utc_text
from billing.heads_file import NoHeadsFile, open_heads, write_heads
from billing.ledger.chain import entry_hash, seed_hash
from billing.ledger.states import Entry
from billing.models import CreditTransaction, CreditWallet, LedgerAnchor
from billing.tests.db.test_invariants import check_ledger, damage, ledgers  # noqa: F401
from billing.tests.makers import charge, make_wallet
from pricing.rating import TokenPools

pytestmark = [pytest.mark.django_db, pytest.mark.breaks_the_ledger]
ONE = TokenPools(output=10_000)


@pytest.fixture(autouse=True)
def no_margin(monkeypatch):
    """The entries of a test are seconds old, and no other transaction is open in its database."""
    monkeypatch.setattr(closing, "MARGIN_S", 0)


def lines(*user_ids):
    heads = []
    for wallet in CreditWallet.objects.filter(user_id__in=user_ids).order_by("id"):
        last = CreditTransaction.objects.filter(wallet=wallet).order_by("-seq").first()
        heads.append(f"{wallet.id}:{last.seq}:{last.entry_hash}\n")
    return "".join(heads)


def anchor_ledger(*arguments):
    out = StringIO()
    call_command("anchor_ledger", *arguments, stdout=out)
    return out.getvalue()


def test_an_anchor_is_the_hash_of_all_last_entries_by_wallet_id(ledgers):  # noqa: F811
    make_wallet("0")
    as_of = timezone.now()
    expected = lines(*ledgers.values())
    # Neither the wallet without an entry nor what comes later is in it.
    charge(ledgers["alice"], ONE)
    make_wallet("1")
    anchor = make_anchor(as_of)
    assert anchor.anchor_hash == hashlib.sha256(expected.encode()).hexdigest()
    assert (anchor.wallets, anchor.entries, anchor.as_of) == (2, 8, as_of)


def test_an_empty_ledger_has_an_anchor_too():
    anchor = make_anchor(timezone.now())
    assert (anchor.wallets, anchor.entries, anchor.anchor_hash) == (0, 0, hashlib.sha256().hexdigest())


def test_a_time_is_anchored_once(ledgers):  # noqa: F811
    as_of = timezone.now()
    first = make_anchor(as_of)
    damage("UPDATE credit_transactions SET entry_hash = repeat('0', 64) WHERE user_id = %(alice)s AND seq = 4",
           alice=ledgers["alice"])  # fmt: skip
    assert make_anchor(as_of).anchor_hash == first.anchor_hash
    assert LedgerAnchor.objects.count() == 1


def test_the_beat_anchors_the_latest_midnight_and_no_other():
    assert tasks.anchor_ledger() is True
    assert tasks.anchor_ledger() is True
    [anchor] = LedgerAnchor.objects.all()
    assert anchor.as_of == timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def test_an_anchor_of_now_covers_the_wallets_that_there_are_without_any_margin(ledgers, monkeypatch):  # noqa: F811
    monkeypatch.setattr(closing, "MARGIN_S", 10**6)
    time_and_hash = anchor_ledger("--now").strip()
    charge(ledgers["alice"], ONE)
    [anchor] = LedgerAnchor.objects.all()
    assert (anchor.wallets, anchor.entries) == (2, 8)
    assert time_and_hash == f"{utc_text(anchor.as_of)}={anchor.anchor_hash}"
    # What comes later changes nothing of it, and each moment has one of its own.
    assert check_ledger("--anchor", time_and_hash)[0] == 0
    assert anchor_ledger("--now").strip() != time_and_hash
    assert LedgerAnchor.objects.count() == 2


def test_a_wallet_of_today_that_was_chained_anew_is_found_by_an_anchor_of_now(ledgers):  # noqa: F811
    time_and_hash = anchor_ledger("--now").strip()
    assert check_ledger()[0] == 0
    rewrite(ledgers["alice"])
    damage("DELETE FROM ledger_anchors")
    assert check_ledger()[0] == 0
    status, report = check_ledger("--anchor", time_and_hash)
    assert status == 1
    assert f"the anchor says {time_and_hash.split('=')[1]}" in report


def test_a_midnight_that_has_only_just_been_is_not_anchored(monkeypatch):
    monkeypatch.setattr(closing, "MARGIN_S", 10**6)
    assert tasks.anchor_ledger() is False
    assert not LedgerAnchor.objects.exists()
    with pytest.raises(CommandError, match="there is no other anchor"):
        anchor_ledger()


@pytest.mark.parametrize("change", ["UPDATE ledger_anchors SET wallets = 5", "DELETE FROM ledger_anchors"])
def test_an_anchor_is_never_changed(change):
    make_anchor(timezone.now())
    with pytest.raises(ProgrammingError, match="Cannot"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)
    assert LedgerAnchor.objects.get().wallets == 0


def test_a_disabled_trigger_of_the_anchors_is_found():
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgname FROM pg_trigger WHERE tgrelid = 'ledger_anchors'::regclass"
                       " AND tgname LIKE 'pgtrigger_append%'")  # fmt: skip
        cursor.execute(f"ALTER TABLE ledger_anchors DISABLE TRIGGER {cursor.fetchone()[0]}")
    assert "the append-only trigger of ledger_anchors is missing or disabled" in check_ledger()[1]


def rewrite(user_id):
    """The perfect forgery of a wallet: another text in its first entry, and everything that follows from it."""
    wallet = CreditWallet.objects.get(user_id=user_id)
    previous = seed_hash(wallet.id)
    for row in CreditTransaction.objects.filter(wallet=wallet).order_by("seq").values():
        row["reason"] = "forged" if row["seq"] == 1 else row["reason"]
        previous = entry_hash(previous, Entry(**row))
        damage("UPDATE credit_transactions SET reason = %(reason)s, entry_hash = %(hash)s WHERE id = %(id)s",
               reason=row["reason"], hash=previous, id=row["id"])  # fmt: skip
    damage("UPDATE credit_wallets SET last_hash = %(hash)s WHERE id = %(id)s", hash=previous, id=wallet.id)
    damage("UPDATE ledger_checkpoints SET entry_hash = %(hash)s WHERE wallet_id = %(id)s", hash=previous, id=wallet.id)
    return wallet


def test_a_forgery_of_every_hash_is_found_by_the_stored_anchor(ledgers):  # noqa: F811
    make_anchor(timezone.now())
    assert check_ledger()[0] == 0
    rewrite(ledgers["alice"])
    code, report = check_ledger()
    assert code == 1
    assert report.startswith("L10 wallet - user -: the entries before ")
    assert report.splitlines()[1].startswith("1 findings in ")


def test_a_forgery_of_every_hash_and_the_anchors_is_found_by_what_is_kept_elsewhere(ledgers, tmp_path):  # noqa: F811
    as_of = timezone.now()
    kept = make_anchor(as_of)
    file = tmp_path / "heads"
    write_heads(file, as_of)
    assert check_ledger()[0] == 0
    wallet = rewrite(ledgers["alice"])
    state = state_at(as_of)
    damage("UPDATE ledger_anchors SET anchor_hash = %(hash)s WHERE as_of = %(as_of)s",
           hash=state.anchor_hash, as_of=as_of)  # fmt: skip
    # Nothing in the database tells of it any more …
    assert check_ledger()[0] == 0
    assert check_ledger("--new")[0] == 0
    # … but the hash that was kept elsewhere, and the file, which names the wallet and no other.
    for scope in ([], ["--new"]):
        code, report = check_ledger("--anchor", f"{utc_text(as_of)}={kept.anchor_hash}", *scope)
        assert code == 1
        assert f"come to {state.anchor_hash}, the anchor says {kept.anchor_hash}" in report
    code, report = check_ledger("--heads", str(file))
    assert code == 1
    named = f"L10 wallet {wallet.id} user alice@example.com: as of {utc_text(as_of)} "
    assert f"{named}it ends on entry 4 with hash " in report
    assert "bob@example.com" not in report
    assert check_ledger("--anchor", f"{utc_text(as_of)}={state.anchor_hash}")[0] == 0


def test_a_file_of_heads_is_what_is_hashed(ledgers, tmp_path):  # noqa: F811
    as_of = timezone.now()
    anchor = make_anchor(as_of)
    write_heads(tmp_path / "heads", as_of)
    first, *rest = (tmp_path / "heads").read_text().splitlines(keepends=True)
    assert first == f"# Tallyroom ledger heads as of {utc_text(as_of)} sha256 {anchor.anchor_hash}\n"
    assert "".join(rest) == lines(*ledgers.values())
    assert [path.name for path in tmp_path.iterdir()] == ["heads"]


def test_the_command_prints_the_newest_anchor_and_writes_its_heads(ledgers, tmp_path):  # noqa: F811
    file = tmp_path / "heads"
    printed = anchor_ledger("--heads", str(file))
    anchor = LedgerAnchor.objects.get()
    assert f"{utc_text(anchor.as_of)}={anchor.anchor_hash}" in printed
    assert open_heads(file).as_of == anchor.as_of
    assert check_ledger("--anchor", printed.strip().splitlines()[0], "--heads", str(file))[0] == 0


def test_wallets_that_only_one_side_knows_are_named(ledgers, tmp_path):  # noqa: F811
    file = tmp_path / "heads"
    write_heads(file, timezone.now())
    alice, bob = (CreditWallet.objects.get(user_id=ledgers[name]) for name in ("alice", "bob"))
    # Without its wallet an entry is nobody's.
    damage("DELETE FROM credit_wallets WHERE id = %(id)s", id=bob.id)
    report = check_ledger("--heads", str(file))[1]
    assert f"L10 wallet {bob.id} user -: as of " in report
    assert "it has no entry, the file says it ended on entry 4" in report
    text = file.read_text().splitlines(keepends=True)
    body = "".join(line for line in text[1:] if not line.startswith(str(alice.id)))
    body_hash = hashlib.sha256(body.encode()).hexdigest()
    file.write_text(f"# Tallyroom ledger heads as of {utc_text(timezone.now())} sha256 {body_hash}\n{body}")
    report = check_ledger("--heads", str(file))[1]
    assert f"L10 wallet {alice.id} user alice@example.com: as of " in report
    assert "it ends on entry 4, and the file does not know it" in report


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:-2], lambda text: "x" + text, lambda text: text.replace(":4:", ":5:")]
)
def test_a_file_that_is_not_as_it_was_written_is_refused(ledgers, tmp_path, spoil):  # noqa: F811
    file = tmp_path / "heads"
    write_heads(file, timezone.now())
    open_heads(file)
    file.write_text(spoil(file.read_text()))
    with pytest.raises(NoHeadsFile):
        open_heads(file)
    with pytest.raises(CommandError, match="--heads"):
        check_ledger("--heads", str(file))


@pytest.mark.parametrize("text", ["yesterday=" + "0" * 64, "2026-11-24=" + "0" * 64, "2026-11-24T00:00:00Z=00"])
def test_an_anchor_that_cannot_be_read_is_an_error_of_the_command(text):
    with pytest.raises(CommandError, match="--anchor"):
        check_ledger("--anchor", text)


def test_only_the_newest_anchors_are_verified_again(ledgers, monkeypatch):  # noqa: F811
    now = timezone.now()
    for days in (3, 2, 1, 0):
        make_anchor(now - timedelta(days=days))
    verified = []
    monkeypatch.setattr(anchors, "VERIFIED", 2)
    monkeypatch.setattr(anchors, "state_at", lambda as_of: verified.append(as_of) or state_at(as_of))
    assert check_ledger()[0] == 0
    assert verified == [now, now - timedelta(days=1)]
