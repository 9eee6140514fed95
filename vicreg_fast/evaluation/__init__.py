"""Evaluation: how good a frozen representation is, by a linear probe and by its nearest neighbours."""
