"""From a question to the memories that answer it, packed into a budget of tokens."""

from node.recall.recall import Item, Recall, merge, recall

__all__ = ["Item", "Recall", "merge", "recall"]
