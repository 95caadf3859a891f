"""The phases of training: what each part of a model learns, from which windows, with which noise."""

from __future__ import annotations

from simworld.phases.belief import BeliefPhase
from simworld.phases.canvas import CanvasPhase
from simworld.phases.closeups import CloseUpsPhase
from simworld.phases.codec import CodecPhase
from simworld.phases.common import PhaseConfig, stream
from simworld.phases.consequences import ConsequencesPhase
from simworld.phases.dynamics import DynamicsPhase
from simworld.phases.encode import encode_all
from simworld.phases.forecast import ForecastPhase
from simworld.phases.lookout import LookoutPhase
from simworld.phases.odometry import OdometryPhase
from simworld.phases.reckoning import ReckoningPhase
from simworld.phases.reference import ReferencePhase
from simworld.phases.touch import TouchPhase
from simworld.phases.tracks import TracksPhase
from simworld.phases.trust import TrustPhase

__all__ = [
    "BeliefPhase",
    "CanvasPhase",
    "CloseUpsPhase",
    "CodecPhase",
    "ConsequencesPhase",
    "DynamicsPhase",
    "ForecastPhase",
    "LookoutPhase",
    "OdometryPhase",
    "PhaseConfig",
    "ReckoningPhase",
    "ReferencePhase",
    "TouchPhase",
    "TracksPhase",
    "TrustPhase",
    "encode_all",
    "stream",
]
