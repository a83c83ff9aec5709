// Replaced as soon as the folder has a source of its own.
