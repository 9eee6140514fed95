"""Ranks agree on what to do at which step, and rank 0 hears what every rank holds."""

import pytest

from tests.distributed.messages import answers, first_told, gathered
from tests.distributed.worlds import World
from vicreg_fast.distributed import SINGLE
from vicreg_fast.distributed.control import Agreement, gather_states, share_states

NO = (False, False)


def test_any_ranks_question_is_answered_to_all_one_step_later(world: World) -> None:
    last = world.size - 1
    asked = [{}, {last: (True, False)}, {0: (False, True)}, {0: (True, False), last: (False, True)}]
    told = world.run(answers, asked)
    assert told == [[NO, NO, (True, False), (False, True), (True, True), NO]] * world.size


def test_one_rank_is_answered_at_once() -> None:
    agreement = Agreement(SINGLE, questions=2)
    assert [agreement.ask(False, True), agreement.ask(True, False)] == [(False, True), (True, False)]
    assert agreement.settle() == NO
    with pytest.raises(ValueError, match="1 questions, where 2"):
        agreement.ask(True)


def test_states_are_gathered_in_the_ranks_order(world: World) -> None:
    first, *others = world.run(gathered)
    everything = [{"rank": rank, "bytes": bytes([rank])} for rank in range(world.size)]
    assert first == (everything, list(range(world.size)))
    assert others == [(None, list(range(world.size)))] * (world.size - 1)
    assert (gather_states("mine", SINGLE), share_states("mine", SINGLE)) == (["mine"], ["mine"])


def test_the_first_ranks_numbers_are_everybodys_to_the_last_bit(world: World) -> None:
    assert world.run(first_told) == [[0.1, 0.0]] * world.size
