"""Layers and networks that models are built from: torch modules whose derivatives of any order are right."""
