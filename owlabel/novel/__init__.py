"""Novel classes: clicks, regions, prototypes (NPM), occurrences, composed label maps."""
