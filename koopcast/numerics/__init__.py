"""Mathematics that methods share and that has no options of its own."""
