"""Stand-in."""

from emodna.model.methods.base import Phase as Phase
from emodna.model.methods.base import phase_at as phase_at
