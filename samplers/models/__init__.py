"""Trained models that come with the package, a folder each: safetensors, YAML and a card."""

from pathlib import Path

FOLDER = Path(__file__).parent
"""the folder of the folders"""
