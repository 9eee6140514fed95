"""The bench: scenarios in processes of their own, paired measurements, and records that a sceptic can
check."""
