"""The claims ledger: what each source says, the criterion, and what the tables say of it."""
