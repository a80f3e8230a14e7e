"""Live books of the recorder: for keyframes, audits and crossed checks.

Written apart from the replay kernels on purpose: where the two agree, neither is taking the
other's word for it.
"""

from recorder.book.columns import BookOverflow, Columns
from recorder.book.l2 import BooksDiffer, L2Book
from recorder.book.l3 import L3Book

__all__ = ["BookOverflow", "BooksDiffer", "Columns", "L2Book", "L3Book"]
