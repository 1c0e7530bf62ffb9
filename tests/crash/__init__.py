"""Kill -9 against the real program."""
