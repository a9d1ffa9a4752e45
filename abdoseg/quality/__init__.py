"""How far labels can be trusted: what the network doubts, what had to be corrected, and what anatomy says of it."""

from abdoseg.quality.assess import Findings, Quality, assess, columns, sentences
from abdoseg.quality.evidence import Evidence, examine
from abdoseg.quality.plausibility import implausible

__all__ = ["Evidence", "Findings", "Quality", "assess", "columns", "examine", "implausible", "sentences"]
