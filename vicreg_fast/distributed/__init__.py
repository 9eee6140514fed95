"""Process groups and the exchanges of the loss. Importing it imports torch."""

from vicreg_fast.distributed.exchange import gather_views, require_even_batches, sum_over_ranks
from vicreg_fast.distributed.ranks import SINGLE, Ranks, ranks_of

__all__ = ["SINGLE", "Ranks", "gather_views", "ranks_of", "require_even_batches", "sum_over_ranks"]
