from dataclasses import dataclass
@dataclass(frozen=True)
class Prediction:
    total: float | None = None
    downtime: float | None = None
    bytes: float | None = None
    rounds: float | None = None
    postcopy_requests: float | None = None
    converged: bool | None = None
