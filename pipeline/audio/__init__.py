"""Decode, resample, trim and segment recordings."""

from typing import Final

AUDIO_SUFFIXES: Final = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"),
)
"""Suffixes of the files that a folder scan takes for recordings: formats that libsndfile recognises by content."""

FFMPEG_SUFFIXES: Final = (
    *(".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".3g2", ".aac", ".amr", ".awb"),
    *(".webm", ".mka", ".mkv", ".wma", ".wmv", ".asf", ".avi", ".spx"),
)
"""Suffixes of recordings in formats that only ffmpeg decodes."""
