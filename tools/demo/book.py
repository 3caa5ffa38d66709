"""A book of questions: each question has one answer, a category and a weight."""
import hashlib


class Book:
    """Questions in the order they were added; adding one twice with another answer is an error."""

    def __init__(self):
        self.answer, self.entries = {}, []

    def add(self, category, questions, answer, times, hold=True):
        """times: how often an epoch shows the answer, shared by the questions; hold: phrasings may be held out."""
        fresh = []
        for q in questions:
            old = self.answer.setdefault(q, answer)
            if old != answer:
                raise ValueError("two answers for %r: %r and %r" % (q, old, answer))
            if q not in fresh:
                fresh.append(q)
        self.entries.append((category, fresh, answer, times, hold))


def hash100(text):
    """0 to 99 from the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 100
