"""vicreg-fast: the fastest honest way to pretrain VICReg, and the bench that proves it."""

__version__ = "0.1.0"
