"""One file for each group of tables: tags, proposals, candidates, the catalogue of images."""
