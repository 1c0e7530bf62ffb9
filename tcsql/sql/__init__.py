"""MySQL's schema statements to changes, and schemas back to MySQL's statements. Pure."""
