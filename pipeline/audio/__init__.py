"""Decode, resample, trim and segment recordings."""

from typing import Final

AUDIO_SUFFIXES: Final = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"),
)
"""Suffixes of the files that a folder scan takes for recordings: formats that libsndfile recognises by content."""
