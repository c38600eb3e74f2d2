"""How dates and times are shown on pages that Django makes: as on our own."""
