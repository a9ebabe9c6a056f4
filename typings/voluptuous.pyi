# Home Assistant serves probatio under this name since 2026.9; mypy has to be told.
from probatio import *
