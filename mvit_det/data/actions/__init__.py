"""AVA: key frames of videos with boxes of people and what they do."""
