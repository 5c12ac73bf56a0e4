"""A case (事项): one matter of one or more residents, from report to evaluation.

Read in this order: ``commands`` (what may be asked), ``events`` (what has happened), ``states``
(what is known), ``decide`` (what happens next, with its ``guards`` and ``clock``), ``evolve`` (what
follows from it).
"""

from domain.case.decide import alongside, decide
from domain.case.evolve import evolve, initial

__all__ = ["alongside", "decide", "evolve", "initial"]
