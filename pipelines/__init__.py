"""The science of Discern: files and arrays in, files and arrays out; no web, no database."""
