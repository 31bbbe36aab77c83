"""Catalogue → facts → examples → dataset: what is taught, without any model."""
