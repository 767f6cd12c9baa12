"""The librarian: a member without a memory, which is told the announced topics and answers who-knows exactly.

It holds topics, how many memories carry each, and their weight: no text, no title, no path.
"""

from librarian.config import LibrarianConfig
from librarian.service import Librarian

__all__ = ["Librarian", "LibrarianConfig"]
