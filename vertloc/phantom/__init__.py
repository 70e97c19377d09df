"""A synthetic cohort in the layout of the Microsoft spine CT database."""
