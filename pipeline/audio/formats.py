"""Files that are taken for recordings where nobody names them."""

from typing import Final

#: Endings of the formats that libsndfile knows by their content.
AUDIO_SUFFIXES: Final = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"),
)
