"""Decode, resample, trim and segment recordings."""

from typing import Final

AUDIO_SUFFIXES: Final = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"),
)
"""Endings of files that are taken for recordings where nobody names them: formats that libsndfile knows by content."""
