"""How well gaps under clouds are filled, by every engine and by every naive row."""
