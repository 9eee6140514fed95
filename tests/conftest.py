"""Without a GPU, Triton interprets its kernels in every test: said before anything imports Triton, whose own
functions are decorated when it is imported.
"""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
