"""From a question to the memories that answer it, packed into a budget of tokens."""

from node.recall.fetch import fetch
from node.recall.recall import Item, Recall, merge, recall
from node.recall.survey import Entry, Survey, survey

__all__ = ["Entry", "Item", "Recall", "Survey", "fetch", "merge", "recall", "survey"]
