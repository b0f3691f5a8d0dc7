"""The upload door: files in and out over HTTPS, for people and programs."""
