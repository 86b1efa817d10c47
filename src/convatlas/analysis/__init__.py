"""One trace of a network, and what follows from it: cost, receptive fields, verification against the ledger."""
