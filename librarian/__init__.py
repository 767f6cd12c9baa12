"""A librarian: a member of the mesh that knows exactly who announced which topics, and has no memory itself.

It is told topics by the nodes, keeps them in its process only, and answers *who knows?* within the limits
of its privacy policy. It never holds a memory's text, title or path: nobody sends it any.
"""

from __future__ import annotations

from librarian.config import LibrarianConfig
from librarian.service import Librarian

__all__ = ["Librarian", "LibrarianConfig"]
