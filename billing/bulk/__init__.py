"""Credits for many users at once: once each for a campaign, by command and from a list of e-mails in the admin."""
