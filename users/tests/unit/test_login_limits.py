from __future__ import annotations

import pytest

from users.login_limits import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("", "unknown"),
        ("unix:", "unknown"),
    ],
)
def test_an_address_counts_as_what_one_customer_has(address, network):
    assert network_of(address) == network
