"""Tiles out of slides and folders: which ones, their pixels, their colours, and batches of them."""
