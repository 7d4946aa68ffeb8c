"""The one embedding pass and its store: each image is decoded and embedded once, for every use."""
