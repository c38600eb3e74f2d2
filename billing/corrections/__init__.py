"""What staff do to a wallet: grants, refunds, adjustments, voids; over HTTP and in the admin."""
