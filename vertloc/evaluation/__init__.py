"""The judge: identification rate and localization errors; it never imports the stages."""
