from .rate_sweep import Point as Point
from .rate_sweep import Sweep as Sweep
from .rate_sweep import sweep as sweep
from .report import Report as Report
from .report import compare as compare
