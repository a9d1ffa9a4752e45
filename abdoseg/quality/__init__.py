"""Quality: how far labels can be trusted, by the network's confidence, what was corrected, and anatomy."""

from abdoseg.quality.assess import Findings, Quality, assess, columns
from abdoseg.quality.evidence import Evidence, examine
from abdoseg.quality.odd_parts import odd_parts
from abdoseg.quality.plausibility import implausible
from abdoseg.quality.wording import sentences

__all__ = ["Evidence", "Findings", "Quality", "assess", "columns", "examine", "implausible", "odd_parts", "sentences"]
