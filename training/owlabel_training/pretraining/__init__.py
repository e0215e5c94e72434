"""Contrastive pre-training on auxiliary labels."""
