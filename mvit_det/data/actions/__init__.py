"""Action detection data (AVA): key frames of videos, with boxes of people and their actions."""
