"""How good candidates, clicks and occurrences are."""
