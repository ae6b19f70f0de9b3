"""Planted bugs of the planner."""

from __future__ import annotations

from typing import Any

from planting import Patch, bug

from muster.job.coordinator.round_planner import RoundPlanner
from muster.planning import state
from muster.planning.state import PlannerState


@bug("a coordinator that takes over plans as if nothing were known")
def planner_state_lost() -> list[Patch]:
    def nothing(self: RoundPlanner, head: Any) -> PlannerState:
        return state.init()

    return [(RoundPlanner, "state", nothing)]


@bug("the planner's state is this process's memory of the rounds that it closed, not the history's")
def planner_state_in_memory() -> list[Patch]:
    real = RoundPlanner.state

    def remembered(self: Any, head: Any) -> PlannerState:
        mine = head.author == self._context.node or not head.parents
        if mine or not hasattr(self, "kept"):
            self.kept = real(self, head)
        return self.kept  # type: ignore[no-any-return]

    return [(RoundPlanner, "state", remembered)]
