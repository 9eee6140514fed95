"""The loss kernels as a benchmark suite of its own: cases, exact counts, and times beside a frozen naive
loss.

    pytest -c bench/suite_loss/pytest.ini bench/suite_loss --benchmark-json=base.json

and what `bench loss --against` measures two revisions by. Of ours its modules import `vicreg_fast.loss` and
nothing of `bench` that imports more than torch, so that this suite can measure an older checkout's loss.
"""
