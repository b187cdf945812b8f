"""Where arrays lie: locations, objects, metadata, journal, reading."""
