"""Staff's pages work by keyboard: Tab reaches whatever can be used, in order, and shows where one is."""

from __future__ import annotations

import pytest

from billing.models import CreditWallet
from pricing.models import PricingVersion
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.usefixtures("committed")
STOPS_MAX = 400
# What can be used of a page, numbered.
USABLE = """
() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter(one => !one.disabled && one.type !== "hidden" && one.checkVisibility({visibilityProperty: true}))
    .map((one, number) => { one.dataset.stop = number; return number; })
"""
# Which of them has the focus, and how it looks. What is on its way to a look is there at once.
STOP = """
() => {
    const one = document.activeElement;
    return one.dataset.stop === undefined ? null : Number(one.dataset.stop);
}
"""
LOOK = """
number => {
    document.getAnimations().forEach(one => one.finish());
    const one = document.querySelector(`[data-stop="${number}"]`), look = getComputedStyle(one);
    const of = ["outlineStyle", "boxShadow", "borderColor", "backgroundColor", "textDecorationLine", "top"];
    return [one.outerHTML.slice(0, 100), JSON.stringify(of.map(name => look[name]))];
}
"""


def tabbed(desk):
    """The stops of Tab from the top of the page on, and those at which nothing shows it."""
    stops, unseen = [], []
    for _ in range(STOPS_MAX):
        desk.page.keyboard.press("Tab")
        stop = desk.page.evaluate(STOP)
        if stop is None:
            break
        name, focused = desk.page.evaluate(LOOK, stop)
        desk.page.evaluate("document.activeElement.dataset.left = 1")
        stops.append((stop, name, focused))
    for stop, name, focused in stops:
        if desk.page.evaluate(LOOK, stop)[1] == focused:
            unseen.append(name)
    return [stop for stop, _, _ in stops], unseen


@pytest.mark.parametrize("page", ["wallet", "price version", "list"])
def test_tab_reaches_all_that_can_be_used_in_order_and_shows_where_one_is(desk, page):
    alice = make_person("alice")
    paths = {
        "wallet": f"/admin/billing/creditwallet/{CreditWallet.objects.get(user_id=alice.id).pk}/change/",
        "price version": f"/admin/pricing/pricingversion/{PricingVersion.objects.get(status='active').pk}/change/",
        "list": "/admin/billing/credittransaction/",
    }
    desk.go(paths[page])
    desk.page.evaluate("document.activeElement.blur(); window.getSelection().removeAllRanges()")
    usable = desk.page.evaluate(USABLE)
    stops, unseen = tabbed(desk)
    assert stops == usable
    assert unseen == []
